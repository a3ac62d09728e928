# Two wrong passwords were enough for sshd's penalties; the listener's lines are all that is left of
# what the attacker does. Another tried a name that does not exist.
must 198.51.100.{206..207}

at 0s every 4s times 2 ip=198.51.100.206 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 20s every 20s times 10 ip=198.51.100.206
	sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.22]:22 penalty: failed authentication

at 0s ip=198.51.100.207 user=pi
	sshd-session: Invalid user {user} from {ip} port {port}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 20s every 20s times 10 ip=198.51.100.207
	sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.22]:22 penalty: attempted authentication by invalid user
