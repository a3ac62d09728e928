# A shared office of several companies: over a day eight people mistype their ssh password, at most
# three within ten minutes, four of them twice, and all are in.
never 203.0.113.56

at 9h every 4m times 3 ip=203.0.113.56 user=s1,s2,s3
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)

at 11h every 50m times 5 ip=203.0.113.56 user=s4,s5,s6,s7,s8
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+5s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: PAM 1 more authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
