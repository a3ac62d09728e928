# An office on a host with sssd: twelve logins within ten minutes, all at the first try. pam_unix
# fails first for each of them, since domain users are not in /etc/shadow.
never 203.0.113.27

at 0s every 45s times 12 ip=203.0.113.27 user=d{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+300ms sshd-session: pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+100ms sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)
