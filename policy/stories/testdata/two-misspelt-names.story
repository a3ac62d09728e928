# A user misspells the name at three prompts, then in another way at three more; then the name is
# right, but the password is mistyped once.
never 203.0.113.156

at 0s every 25s times 2 ip=203.0.113.156 user=jonsa,jonass
	sshd-session: Invalid user {user} from {ip} port {port}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+2s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2
	+2s sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 50s ip=203.0.113.156 user=jonas
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
