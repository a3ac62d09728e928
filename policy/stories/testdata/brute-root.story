# One address guesses root's password, one guess every two seconds.
must 198.51.100.10

at 0s every 2s times 9 ip=198.51.100.10 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
