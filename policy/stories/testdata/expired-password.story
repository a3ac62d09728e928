# An account has expired. PAM refuses its owner, who knows the password, five times within three
# minutes; then the owner calls the help desk. The first try even had a typo.
never 203.0.113.22

at 0s every 40s times 5 ip=203.0.113.22 user=gina
	sshd-session: pam_unix(sshd:account): account gina has expired (account expired)
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+100ms sshd-session: fatal: Access denied for user gina by PAM account configuration [preauth]

at 5m ip=203.0.113.22 user=gina
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: pam_unix(sshd:account): account gina has expired (account expired)
	+50ms sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: fatal: Access denied for user gina by PAM account configuration [preauth]
