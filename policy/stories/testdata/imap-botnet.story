# A hundred addresses guess one mailbox, four times each within seven hours, never twice within an
# hour. Only Dovecot's login process reports them. The mailbox's owner logs in every day.
must 198.51.100.{1..100}

at 0s every 1h times 8 ip=203.0.113.152 user=sales@example.com
	dovecot: imap-login: Login: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<o{n:x}>

at 10m every 60s times 100 ip=198.51.100.{n+1} user=sales@example.com
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<a{n:x}>

at 2h every 60s times 100 ip=198.51.100.{n+1} user=sales@example.com
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<b{n:x}>

at 4h every 60s times 100 ip=198.51.100.{n+1} user=sales@example.com
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<c{n:x}>

at 5h45m every 40s times 100 ip=198.51.100.{n+1} user=sales@example.com
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<d{n:x}>
