# As in slow-root, but at admin, which does not exist: no person types passwords for it for two days,
# and programs that log in to sshd have keys.
must 198.51.100.12

at 0s every 20m times 144 ip=198.51.100.12 user=admin
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: pam_unix(sshd:auth): check pass; user unknown
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
