# Five passwords for each of three names that do not exist, within three minutes: a name list.
must 198.51.100.152

at 0s every 12s times 15 ip=198.51.100.152 user=oracle,oracle,oracle,oracle,oracle,test,test,test,test,test,ftpuser
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
