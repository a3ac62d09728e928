# A colleague without a key on this host tries ten times over an hour. No password was asked for.
never 203.0.113.26

at 0s every 6m times 10 ip=203.0.113.26 user=hugo
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
