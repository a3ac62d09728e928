# One customer's /56, another /64 for each guess, another existing mailbox for each: no login comes from
# there, and after sixty-four of them these are no people who mistype.
must 2001:db8:58:{41..4f:x}::1

at 0s every 20s times 80 ip=2001:db8:58:{n:x}::1 user=box{n}
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>
