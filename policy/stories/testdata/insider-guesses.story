# Somebody with an account guesses at a name that does not exist here, and logs in to their own
# account after each guess, so that the failures look like a misspelt name. They are cleared once.
must 198.51.100.146

at 0s every 1m times 40 ip=198.51.100.146 user=admin
	sshd-session: Invalid user {user} from {ip} port {port}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+100ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 20s every 1m times 40 ip=198.51.100.146 user=mallory
	+1s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
