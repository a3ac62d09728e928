# Somebody tries four passwords for root, admin and a mailbox at each of ssh, FTP, IMAP and
# submission: no service sees five failures. A household that has forgotten the new password tries
# it in the mail program, which logs in to IMAP and submission at once, and in the web page. A new
# administrator with another keyboard layout tries ssh and two consoles three times each.
must 198.51.100.40
never 203.0.113.{40..41}

at 0s every 20s times 4 ip=198.51.100.40
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user=root
	+2s sshd-session: Failed password for root from {ip} port {port} ssh2

at 2m every 20s times 4 ip=198.51.100.40 user=root
	vsftpd: pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser={user} rhost={ip}  user={user}
	+2s vsftpd: [{user}] FAIL LOGIN: Client "{ip}"

at 4m every 20s times 4 ip=198.51.100.40 user=info@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<z{n:x}>

at 6m every 20s times 4 ip=198.51.100.40 user=info@example.org
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}

at 1h every 30s times 4 ip=203.0.113.40 user=mia@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<y{n:x}>
	+100ms postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}

at 63m every 40s times 3 ip=203.0.113.40 user=mia
	nginx: 2026/11/22 01:00:00 [error] 601#601: *{n+5} user "{user}": password mismatch, client: {ip}, server: cloud.example.org, request: "GET / HTTP/1.1", host: "cloud.example.org"

at 2h every 20s times 3 ip=203.0.113.41 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2

at 122m every 20s times 3 ip=203.0.113.41 user=root
	cockpit-session: pam_unix(cockpit:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost={ip}  user={user}

at 124m every 20s times 3 ip=203.0.113.41 user=root
	pvedaemon: authentication failure; rhost=::ffff:{ip} user=root@pam msg=Authentication failure
