# ssh without a name takes the laptop's user name: three prompts, three more, then the user notices
# it. Then the right name, one typo, and in.
never 203.0.113.109

at 0s every 30s times 2 ip=203.0.113.109 user=annalaptop
	sshd-session: Invalid user {user} from {ip} port {port}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 75s ip=203.0.113.109 user=anna
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+5s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
