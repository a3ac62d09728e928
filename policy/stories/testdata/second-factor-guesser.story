# Somebody has a user's password and guesses the code, on a host where pam_sss takes the password
# and another module the code.
must 198.51.100.142

at 0s every 10s times 8 ip=198.51.100.142 user=sara
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	sshd-session: pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+2s sshd-session: error: PAM: Authentication failure for {user} from {ip}
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
