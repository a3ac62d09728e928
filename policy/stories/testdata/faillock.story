# The owner of an account mistypes three times, and pam_faillock locks it for a while. The right
# password fails six more times within five minutes. The same laptop had logged in this morning.
never 203.0.113.147

at 8h ip=203.0.113.147 user=uwe
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 11h ip=203.0.113.147 user=uwe
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: pam_faillock(sshd:auth): Consecutive login failures for user {user} account temporarily locked
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	sshd-session: PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}

at 11h1m every 45s times 6 ip=203.0.113.147 user=uwe
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
