# hydra opens sixteen connections at once and guesses admin's password once over each; sshd drops
# connections beyond MaxStartups. The administrator logs in elsewhere. No ordinary ssh client does so.
must 198.51.100.203

at 0s ip=203.0.113.150 user=admin
	sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU

at 1h every 30ms times 16 ip=198.51.100.203 user=admin
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 1h1s every 1s times 3 ip=198.51.100.203
	sshd: drop connection #10 from [{ip}]:{port} on [192.0.2.22]:22 past MaxStartups
