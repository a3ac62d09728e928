# Two wrong passwords at one prompt, the third is right.
never 203.0.113.2

at 0s ip=203.0.113.2 user=ben
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: PAM 1 more authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
