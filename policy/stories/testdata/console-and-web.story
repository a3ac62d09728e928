# One administrator mistypes the same password in Cockpit and in Proxmox' web page, once each, and
# gets in.
never 203.0.113.73

at 0s ip=203.0.113.73 user=root
	cockpit-session: pam_unix(cockpit:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost={ip}  user={user}

at 20s ip=203.0.113.73
	pvedaemon: authentication failure; rhost=::ffff:{ip} user=root@pam msg=Authentication failure

at 40s ip=203.0.113.73 user=root
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
