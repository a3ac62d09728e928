# Six guesses at root on a host with sssd, which writes three lines about each besides sshd's.
must 198.51.100.20

at 0s every 9s times 6 ip=198.51.100.20 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+300ms sshd-session: pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+10ms sshd-session: pam_sss(sshd:auth): received for user {user}: 7 (Authentication failure)
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
