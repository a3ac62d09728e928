# One guess every half hour for a day, each on another account that exists: no device does so.
must 198.51.100.134

at 0s every 30m times 48 ip=198.51.100.134 user=u{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
