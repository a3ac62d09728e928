# A scanner guesses passwords for "admin", which does not exist here: one connection a second, twelve of them.
must 198.51.100.172

at 0s every 1s times 12 ip=198.51.100.172
	sshd-session: Invalid user admin from {ip} port {port}
	+200ms sshd-session: Failed password for invalid user admin from {ip} port {port} ssh2
	+100ms sshd-session: Connection closed by invalid user admin {ip} port {port} [preauth]
