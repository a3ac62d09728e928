# A list of names on a host with sssd: pam_sss does not know them, either.
must 198.51.100.140

at 0s every 15s times 6 ip=198.51.100.140 user=oracle,git,deploy,jenkins,ftp,www
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: pam_unix(sshd:auth): check pass; user unknown
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+300ms sshd-session: pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+10ms sshd-session: pam_sss(sshd:auth): received for user {user}: 10 (User not known to the underlying authentication module)
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
