# A service account has no password; sshd without PAM takes it for locked and refuses its key. A job
# tries eight times within eight minutes. Elsewhere a user's login shell was uninstalled, and the
# user's editor keeps reconnecting.
never 203.0.113.{117..118}

at 0s every 1m times 8 ip=203.0.113.117 user=coder
	sshd-session: User {user} not allowed because account is locked
	+300ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 0s every 50s times 8 ip=203.0.113.118 user=bea
	sshd-session: User {user} not allowed because shell /usr/bin/fish does not exist
	+300ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
