# nslcd, which pam_ldap asks, was not started after an upgrade. Nine people of an office try three
# times each, within a quarter of an hour.
never 203.0.113.109

at 0s every 35s times 27 ip=203.0.113.109 user=l1,l2,l3,l4,l5,l6,l7,l8,l9
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	sshd-session: pam_ldap(sshd:auth): error opening connection to nslcd: No such file or directory
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
