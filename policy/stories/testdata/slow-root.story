# One guess at root every twenty minutes, for two days: a person who forgot it stops sooner.
must 198.51.100.12

at 0s every 20m times 144 ip=198.51.100.12 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
