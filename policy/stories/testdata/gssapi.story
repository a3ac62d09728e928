# Kerberos is on, but this client's ticket is for another realm: gssapi-with-mic fails, then the key
# is right. Every two minutes for an hour, by a script. LogLevel VERBOSE.
never 203.0.113.43

at 0s every 2m times 30 ip=203.0.113.43 user=petra
	sshd-session: Failed gssapi-with-mic for {user} from {ip} port {port} ssh2
	+100ms sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
