# Somebody has left the company, and the mailbox is closed. A device forgotten at the office keeps
# trying every five minutes over three connections, for twelve days. Colleagues read their mail from
# the same address.
never 203.0.113.140

at 0s ip=203.0.113.140 user=left@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<l>

at 10m every 5m times 3456 ip=203.0.113.140 user=left@example.com
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}0>
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}1>
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}2>

at 11m every 1h times 288 ip=203.0.113.140 user=staff1@example.com,staff2@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<s{n:x}>
