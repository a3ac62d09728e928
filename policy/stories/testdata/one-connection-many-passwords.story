# MaxAuthTries and MaxSessions are high here: one connection, eight wrong passwords.
must 198.51.100.133

at 0s ip=198.51.100.133 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	sshd-session: PAM 7 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
