# A lesson begins: twenty log in to a host with sssd, which wants a confirmation by phone after the
# password. pam_unix fails first for each of them, and the phone confirms 35 to 75 seconds later.
never 203.0.113.157

at 0s every 24s times 5 ip=203.0.113.157 user=a{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+40s sshd-session: pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 6s every 24s times 5 ip=203.0.113.157 user=b{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+75s sshd-session: pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 12s every 24s times 5 ip=203.0.113.157 user=c{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+35s sshd-session: pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 18s every 24s times 5 ip=203.0.113.157 user=d{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+60s sshd-session: pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2
