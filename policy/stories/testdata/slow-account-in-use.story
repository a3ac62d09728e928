# One guess in twenty minutes at deploy, to which a build host logs in every hour.
never 203.0.113.18
must 198.51.100.13

at 0s every 1h times 48 ip=203.0.113.18 user=deploy
	sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M

at 100s every 20m times 144 ip=198.51.100.13 user=deploy
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
