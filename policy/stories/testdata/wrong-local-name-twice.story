# As in wrong-local-name, but two colleagues of one office do so within five minutes.
never 203.0.113.31

at 0s every 4m times 2 ip=203.0.113.31 user=annaslaptop,benslaptop
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

at 1m every 4m times 2 ip=203.0.113.31 user=anna,ben
	+4s sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
