# Every host on the Internet has strangers who guess root: here fifty of them, one guess each,
# within an hour. Then the administrator mistypes root's password once, from a hotel that nobody
# ever logged in from. One typo is no attack.
never 203.0.113.8

at 0s every 70s times 50 ip=198.51.100.{n+1} user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 1h3m ip=203.0.113.8 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)
