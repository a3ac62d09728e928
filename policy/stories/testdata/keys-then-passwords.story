# An attacker offers two keys before each password, as a client does, for names that the host has
# and names that it does not. LogLevel VERBOSE.
must 198.51.100.{194..195}

at 0s every 30s times 8 ip=198.51.100.194 user=oracle,hadoop,test,ubuntu
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: Failed publickey for invalid user {user} from {ip} port {port} ssh2: RSA SHA256:k0oFbN2yq5XjVt8mPzDe7RcLh3GuWsAi1TnYxB9vQ4E
	+200ms sshd-session: Failed publickey for invalid user {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 0s every 30s times 8 ip=198.51.100.195 user=root
	sshd-session: Failed publickey for {user} from {ip} port {port} ssh2: RSA SHA256:k0oFbN2yq5XjVt8mPzDe7RcLh3GuWsAi1TnYxB9vQ4E
	+200ms sshd-session: Failed publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
