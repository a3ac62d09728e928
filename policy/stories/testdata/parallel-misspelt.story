# A build host fetches eight repositories at once with a misspelt user name, over keys, and a person tries again twice. No
# password is asked for, and nobody could log in by that name.
never 203.0.113.171

at 0s every 110ms times 8
	sshd-session: Invalid user biulder from 203.0.113.171 port {port}
	+400ms sshd-session: Connection closed by invalid user biulder 203.0.113.171 port {port} [preauth]

at 95s every 90ms times 8
	sshd-session: Invalid user biulder from 203.0.113.171 port {port}
	+400ms sshd-session: Connection closed by invalid user biulder 203.0.113.171 port {port} [preauth]

at 240s every 120ms times 8
	sshd-session: Invalid user biulder from 203.0.113.171 port {port}
	+400ms sshd-session: Connection closed by invalid user biulder 203.0.113.171 port {port} [preauth]

at 420s
	sshd-session: Accepted publickey for builder from 203.0.113.171 port {port} ssh2: ED25519 SHA256:0000
