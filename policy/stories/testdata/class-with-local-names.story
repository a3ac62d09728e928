# A class of twelve at computers behind one address. Without a user name ssh takes lab1 to lab12,
# which this host does not have: one or two prompts each, then the student's own name. A team with
# keys does the same. An attacker who has an account tries root and other names, too.
never 203.0.113.131
must 198.51.100.131

at 0s every 40s times 12 ip=203.0.113.131
	sshd-session: Invalid user lab{n+1} from {ip} port {port}
	+2s sshd-session: Failed password for invalid user lab{n+1} from {ip} port {port} ssh2
	+5s sshd-session: Failed password for invalid user lab{n+1} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by invalid user lab{n+1} {ip} port {port} [preauth]

at 25s every 40s times 12 ip=203.0.113.131
	sshd-session: Accepted password for stud{n} from {ip} port {port} ssh2

at 1h every 70s times 8 ip=203.0.113.131 user=alice,ben,cleo,dora,emil,fynn,gabi,hans
	sshd-session: Invalid user {user} from {ip} port {port}
	+400ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 1h40s every 70s times 8 ip=203.0.113.131
	sshd-session: Accepted publickey for git from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M

at 0s every 30s times 20 ip=198.51.100.131 user=root,admin
	sshd-session: Failed password for {user} from {ip} port {port} ssh2

at 20s every 30s times 20 ip=198.51.100.131
	sshd-session: Accepted password for eve from {ip} port {port} ssh2
