# A host in a Windows domain: pam_unix fails first for every domain user, then pam_winbind lets them
# in. Fifteen logins, of which two had a typo.
never 203.0.113.34

at 0s every 50s times 15 ip=203.0.113.34 user=EXAMPLE\user{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	sshd-session: pam_winbind(sshd:auth): getting password (0x00000388)
	sshd-session: pam_winbind(sshd:auth): pam_get_item returned a password
	sshd-session: pam_winbind(sshd:auth): user '{user}' granted access
	+200ms sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 5m every 3m times 2 ip=203.0.113.34 user=EXAMPLE\typo{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	sshd-session: pam_winbind(sshd:auth): request wbcLogonUser failed: WBC_ERR_AUTH_ERROR, PAM error: PAM_AUTH_ERR (7), NTSTATUS: NT_STATUS_WRONG_PASSWORD, Error message was: The specified network password is not correct.
	sshd-session: pam_winbind(sshd:auth): user '{user}' denied access (incorrect password or invalid membership)
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
