# A deploy key was revoked, but a controller goes on to fetch eight repositories with it every four
# minutes. OpenSSH 10 penalises the first few refusals and drops the other connections. No password
# was ever sent.
never 203.0.113.113

at 0s every 4m times 30 ip=203.0.113.113 user=git
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 1s every 4m times 30 ip=203.0.113.113 user=git
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	+500ms sshd: drop connection #0 from [{ip}]:4{n+1000} on [192.0.2.22]:22 penalty: failed authentication
	+500ms sshd: drop connection #1 from [{ip}]:4{n+2000} on [192.0.2.22]:22 penalty: failed authentication
	+500ms sshd: drop connection #0 from [{ip}]:4{n+3000} on [192.0.2.22]:22 penalty: failed authentication
	+500ms sshd: drop connection #0 from [{ip}]:4{n+4000} on [192.0.2.22]:22 penalty: failed authentication
	+500ms sshd: drop connection #0 from [{ip}]:4{n+5000} on [192.0.2.22]:22 penalty: failed authentication
	+500ms sshd: drop connection #0 from [{ip}]:4{n+6000} on [192.0.2.22]:22 penalty: failed authentication
