# An address tries names that do not exist here, one after another.
must 198.51.100.11

at 0s every 20s times 6 ip=198.51.100.11 user=oracle,postgres,ubuntu,pi,test,hadoop
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: pam_unix(sshd:auth): check pass; user unknown
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
