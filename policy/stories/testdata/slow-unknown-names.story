# One name that does not exist every ten minutes, for twelve hours.
must 198.51.100.135

at 0s every 10m times 72 ip=198.51.100.135 user=guess{n}
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: pam_unix(sshd:auth): check pass; user unknown
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
