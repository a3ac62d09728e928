# An administrator on a train: the link breaks in the middle of logins. sshd logs resets, time-outs
# and two typos, from four addresses of two networks.
never 203.0.113.{71..72} 2001:db8:71::5

at 0s every 45s times 10 ip=203.0.113.71 user=vera
	sshd-session: Connection reset by authenticating user {user} {ip} port {port} [preauth]

at 8m every 1m times 4 ip=203.0.113.71
	sshd: Timeout before authentication for connection from {ip} to 192.0.2.22, pid = {pid}

at 14m every 2m times 2 ip=203.0.113.72,2001:db8:71::5 user=vera
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)

at 20m every 10s times 5 ip=2001:db8:71::5 user=vera
	sshd-session: ssh_dispatch_run_fatal: Connection from authenticating user {user} {ip} port {port}: Broken pipe [preauth]
