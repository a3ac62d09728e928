# A taken-over machine in an office guesses root, while colleagues log in to their accounts from the
# same address.
must 198.51.100.139

at 0s every 4m times 10 ip=198.51.100.139 user=c0,c1,c2,c3
	+4s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M

at 10m every 3s times 12 ip=198.51.100.139 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
