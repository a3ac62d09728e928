# sshd's own penalties shut attackers out for most of the time. The listener's lines do not count, since
# refused keys lead to them, too; the passwords between them do.
must 198.51.100.{143..144}

at 0s every 80s times 8 ip=198.51.100.143 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	+5s sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.22]:22 penalty: failed authentication
	+5s sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.22]:22 penalty: failed authentication

at 0s every 1m times 20 ip=198.51.100.144 user=pi
	sshd-session: Invalid user {user} from {ip} port {port}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+100ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
	+10s sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.22]:22 penalty: attempted authentication by invalid user
