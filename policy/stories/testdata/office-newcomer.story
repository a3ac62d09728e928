# Twenty colleagues have logged in from the office in the morning. A newcomer mistypes the first password at three prompts, again at
# three, asks, and is in. From the other office, where as many work, a machine guesses at one account.
never 203.0.113.190
must 203.0.113.191

at 0s every 3m times 20 ip=203.0.113.190
	sshd-session: Accepted password for w{n} from {ip} port {port} ssh2
	+1s sshd-session: Accepted password for v{n} from 203.0.113.191 port {port} ssh2

at 2h every 40s times 2 ip=203.0.113.190 user=xenia
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+7s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+5s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	sshd-session: PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}

at 127m ip=203.0.113.190 user=xenia
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 2h every 20s times 12 ip=203.0.113.191 user=backup
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
