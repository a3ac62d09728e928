# A mail program is set up without TLS and tries every five minutes of a day. Dovecot refuses it
# before any password.
never 203.0.113.53

at 0s every 5m times 288 ip=203.0.113.53
	dovecot: imap-login: Login aborted: Connection closed (tried to use disallowed cleartext auth) (cleartext_auth_disabled): user=<>, rip={ip}, lip=192.0.2.25, session=<c{n:x}>
