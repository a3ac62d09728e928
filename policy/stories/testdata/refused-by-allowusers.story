# A job keeps logging in as deploy with its key, every half hour for a day. AllowUsers accepts deploy
# only from inside, where other jobs log in as deploy. No password is tried.
never 203.0.113.147

at 0s every 20m times 75 ip=192.0.2.147 user=deploy
	+1s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M

at 10m every 30m times 48 ip=203.0.113.147 user=deploy
	sshd-session: User {user} from {ip} not allowed because not listed in AllowUsers
	+300ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
