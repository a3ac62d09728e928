# An ssh agent holds seven keys, and the right one comes last: sshd hangs up after six. The user
# tries twice more before specifying the key. Offered keys are not password guesses.
never 203.0.113.17

at 0s every 50s times 3 ip=203.0.113.17 user=bo
	sshd-session: error: maximum authentication attempts exceeded for {user} from {ip} port {port} ssh2 [preauth]
	sshd-session: Disconnecting authenticating user {user} {ip} port {port}: Too many authentication failures [preauth]

at 4m ip=203.0.113.17 user=bo
	+4s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)
