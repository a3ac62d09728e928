# A password is sprayed over a list of mailboxes by PLAIN, each with a junk token by XOAUTH2 before
# and after, which would count for nothing by itself.
must 198.51.100.202

at 0s every 1m times 20 ip=198.51.100.202 user=z{n}@example.com
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=XOAUTH2, rip={ip}, lip=192.0.2.25, TLS, session=<j{n:x}>
	+3s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<z{n:x}>
	+500ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 0 secs) (auth_failed): user=<{user}>, method=XOAUTH2, rip={ip}, lip=192.0.2.25, TLS, session=<J{n:x}>
