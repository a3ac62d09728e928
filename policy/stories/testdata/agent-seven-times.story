# A playbook runs from a laptop whose agent holds nine keys, and four names in its inventory are
# this host. With retries sshd hangs up seven times within nine minutes, until the user specifies
# the key. Then the same happens with a user name that the host does not have.
never 203.0.113.{115..116}

at 0s every 75s times 7 ip=203.0.113.115 user=ansible
	+800ms sshd-session: error: maximum authentication attempts exceeded for {user} from {ip} port {port} ssh2 [preauth]
	sshd-session: Disconnecting authenticating user {user} {ip} port {port}: Too many authentication failures [preauth]

at 11m ip=203.0.113.115 user=ansible
	sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU

at 0s every 40s times 4 ip=203.0.113.116 user=laptopuser
	sshd-session: Invalid user {user} from {ip} port {port}
	+800ms sshd-session: error: maximum authentication attempts exceeded for invalid user {user} from {ip} port {port} ssh2 [preauth]
	sshd-session: Disconnecting invalid user {user} {ip} port {port}: Too many authentication failures [preauth]

at 4m ip=203.0.113.116 user=lena
	sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:Yb1pJfN7m3w0sQzK5uVd8HcXr2TgLaEoWi6CkMvR9xU
