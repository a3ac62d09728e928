# The LDAP server behind Dovecot is down. Phones of an office ask for mail every minute; Dovecot
# reports a temporary failure, and so does Postfix, which asks Dovecot.
never 203.0.113.64

at 0s every 1m times 90 ip=203.0.113.64 user=o0,o1,o2,o3,o4,o5
	dovecot: auth: Error: ldap({user},{ip},<l{n:x}>): Connection appears to be hanging, reconnecting
	+60s dovecot: imap-login: Disconnected: Connection closed (auth service reported temporary failure): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<l{n:x}>
	postfix/submission/smtpd: warning: client.example.net[{ip}]: SASL PLAIN authentication failed: Temporary authentication failure, sasl_username={user}
