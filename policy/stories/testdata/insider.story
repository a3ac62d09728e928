# Somebody with an account here logs in again and again, and guesses the passwords of two colleagues
# in between, every six minutes for five hours. The colleagues work elsewhere.
must 198.51.100.208

at 0s every 30m times 10 ip=203.0.113.153 user=boss,deputy
	sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU

at 5m every 6m times 50 ip=198.51.100.208 user=boss,deputy
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 6m every 12m times 25 ip=198.51.100.208 user=eve
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1007) by {user}(uid=0)
