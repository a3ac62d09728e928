# A backup server logs in to this host over ssh as root every hour. After a reinstallation of the
# host its key is missing for a night: rsync tries three times each hour.
never 203.0.113.48

at 20h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 21h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 22h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 23h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 24h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 25h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 26h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 27h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 28h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 29h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 30h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 31h every 20s times 3 ip=203.0.113.48 user=root
	+300ms sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 33h every 1h times 6 ip=203.0.113.48 user=root
	+4s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
