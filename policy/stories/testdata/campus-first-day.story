# A campus shares one address. On the first day of term three hundred new students log in: fifty of
# them mistype once and then get in; ten have forgotten the password that they chose and give up
# after two tries, far apart.
never 203.0.113.154

at 8h every 2m times 300 ip=203.0.113.154 user=st{n}
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 8h1m every 12m times 50 ip=203.0.113.154 user=new{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+6s sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 9h every 55m times 10 ip=203.0.113.154 user=lost{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+7s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	sshd-session: PAM 1 more authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
