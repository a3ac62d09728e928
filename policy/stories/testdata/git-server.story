# A git host: thirty developers behind one address push as git with their own keys. Two of them have
# not registered a key, and try five times each.
never 203.0.113.46

at 0s every 30s times 30 ip=203.0.113.46 user=git
	+4s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M

at 3m every 50s times 10 ip=203.0.113.46 user=git
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
