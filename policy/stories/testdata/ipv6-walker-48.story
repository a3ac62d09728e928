# An attacker owns a /48 and takes a new /64 for each guess at root: a hundred of them within twenty
# minutes.
must 2001:db8:66:{40..63:x}::1

at 0s every 12s times 100 ip=2001:db8:66:{n:x}::1 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
