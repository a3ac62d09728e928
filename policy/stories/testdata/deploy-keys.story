# A build farm behind one address deploys as eight users of this host; the account of one
# application was deleted last week, and its job still runs every hour of a day.
never 203.0.113.47

at 0s every 10m times 144 ip=203.0.113.47 user=app0,app1,app2,app3,app4,app5,app6
	+4s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M

at 5m every 1h times 24 ip=203.0.113.47 user=app7
	sshd-session: Invalid user {user} from {ip} port {port}
	+200ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
