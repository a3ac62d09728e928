# Somebody with an account of their own guesses another one's password: between the guesses they log in, each
# time, so that a misspelt name would be taken back. It is, once.
must 198.51.100.146

at 0s every 1m times 40 ip=198.51.100.146 user=admin
	sshd-session: Invalid user {user} from {ip} port {port}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+100ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 20s every 1m times 40 ip=198.51.100.146 user=mallory
	+1s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
