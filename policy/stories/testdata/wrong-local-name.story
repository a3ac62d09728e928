# "ssh host" takes the user name of the laptop, which the server does not have: three prompts, then
# the right name, with one typo.
never 203.0.113.1

at 0s ip=203.0.113.1 user=annaslaptop
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: pam_unix(sshd:auth): check pass; user unknown
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+3s sshd-session: pam_unix(sshd:auth): check pass; user unknown
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+3s sshd-session: pam_unix(sshd:auth): check pass; user unknown
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
	sshd-session: PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}

at 1m ip=203.0.113.1 user=anna
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)
