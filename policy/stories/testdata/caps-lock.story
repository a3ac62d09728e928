# Fifty strangers guess root, as everywhere. The administrator, at an address without earlier
# logins, has Caps Lock on at all three prompts of one connection, notices it and logs in. A
# stranger who comes back with three more guesses is banned.
never 203.0.113.155
must 198.51.100.213

at 0s every 1m times 50 ip=198.51.100.{n+1} user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 52m ip=203.0.113.155 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	sshd-session: PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}

at 52m40s ip=203.0.113.155 user=root
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 20m every 15m times 4 ip=198.51.100.213 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
