# A script uploads every ten seconds, and since noon with a password that is no longer right. sshd
# penalises it, so that most of its tries never get as far as a password. It had logged in all
# morning, and a colleague works from the same address.
never 203.0.113.114

at 0s every 20m times 12 ip=203.0.113.114 user=upload
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1005) by {user}(uid=0)

at 4h every 30s times 120 ip=203.0.113.114 user=upload
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	+8s sshd: drop connection #0 from [{ip}]:4{n+1000} on [192.0.2.22]:22 penalty: failed authentication
	+10s sshd: drop connection #0 from [{ip}]:4{n+2000} on [192.0.2.22]:22 penalty: failed authentication

at 4h5m every 15m times 4 ip=203.0.113.114 user=mona
	sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU
