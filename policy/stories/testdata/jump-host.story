# Eighty developers reach this host through one jump host. Over a day twenty mistype once or twice
# and are in at the next try; four give up after three prompts and come back in the afternoon.
never 203.0.113.144

at 8h every 6m times 80 ip=203.0.113.144 user=dev{n}
	sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU

at 8h3m every 40m times 12 ip=203.0.113.144 user=dev{n+10}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 8h20m every 1h times 8 ip=203.0.113.144 user=dev{n+30}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+5s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: PAM 1 more authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}

at 8h30m every 2h times 4 ip=203.0.113.144 user=dev{n+50}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	sshd-session: PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}

at 16h every 10m times 4 ip=203.0.113.144 user=dev{n+50}
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2
