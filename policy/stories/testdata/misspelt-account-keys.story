# A new build host fetches as "gti", which does not exist, with its key, every minute for ten hours. A
# colleague at the same address tries their own name four times within two minutes, also with a key.
# Neither sends a password. Then both are in as git.
never 203.0.113.18

at 0s every 1m times 600 ip=203.0.113.18 user=gti
	sshd-session: Invalid user {user} from {ip} port {port}
	+400ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 1h every 30s times 4 ip=203.0.113.18 user=jonas
	sshd-session: Invalid user {user} from {ip} port {port}
	+400ms sshd-session: Received disconnect from {ip} port {port}:11: Bye Bye [preauth]
	sshd-session: Disconnected from invalid user {user} {ip} port {port} [preauth]

at 10h every 1m times 2 ip=203.0.113.18 user=git
	+1s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
