# pam_krb5 comes first on this host and fails for local accounts, without a user name; pam_unix
# accepts them. A local administrator logs in twelve times within ten minutes.
never 203.0.113.36

at 0s every 45s times 12 ip=203.0.113.36 user=olga
	sshd-session: pam_krb5(sshd:auth): authentication failure; logname={user} uid=0 euid=0 tty=ssh ruser= rhost={ip}
	+300ms sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)
