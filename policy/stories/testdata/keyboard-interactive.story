# Guesses by keyboard-interactive, for which sshd logs only "error: PAM" by default.
must 198.51.100.141

at 0s every 6s times 7 ip=198.51.100.141 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: error: PAM: Authentication failure for root from {ip}
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
