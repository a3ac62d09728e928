# sshd's own penalties shut an attacker out after the first guesses; the listener's lines are all
# that is left.
must 198.51.100.143

at 0s every 2s times 3 ip=198.51.100.143 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 12s every 5s times 12 ip=198.51.100.143
	sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.22]:22 penalty: failed authentication
