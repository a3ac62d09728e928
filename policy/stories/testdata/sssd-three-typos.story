# On a host with sssd a user mistypes three times within one connection, gives up, tries again after
# a minute and gets in. pam_unix, pam_sss (twice) and sshd log each wrong password: these are three
# attempts, not twelve.
never 203.0.113.32

at 0s ip=203.0.113.32 user=alice
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+300ms sshd-session: pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+10ms sshd-session: pam_sss(sshd:auth): received for user {user}: 7 (Authentication failure)
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+3s sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+300ms sshd-session: pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+10ms sshd-session: pam_sss(sshd:auth): received for user {user}: 7 (Authentication failure)
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+3s sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+300ms sshd-session: pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+10ms sshd-session: pam_sss(sshd:auth): received for user {user}: 7 (Authentication failure)
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 1m ip=203.0.113.32 user=alice
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	sshd-session: pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+100ms sshd-session: Accepted password for {user} from {ip} port {port} ssh2
