# The host is closed for maintenance, and an attacker goes on guessing. PAM still reports wrong
# passwords. In between, the attacker is refused with a right password, that of the attacker's own
# account.
must 198.51.100.196

at 0s every 20s times 12 ip=198.51.100.196 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 5s every 20s times 12 ip=198.51.100.196 user=mallory
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+10ms sshd-session: fatal: Access denied for user {user} by PAM account configuration [preauth]
