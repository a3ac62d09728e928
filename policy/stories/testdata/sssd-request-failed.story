# sssd has crashed. The account step of pam_sss refuses local administrators, whom pam_unix accepts;
# its password step refuses domain users, whose names are still cached. Nobody mistyped.
never 203.0.113.{107..108}

at 0s every 45s times 12 ip=203.0.113.107 user=root,admin,ops
	+2s sshd-session: pam_sss(sshd:account): Request to sssd failed. Connection refused
	+10ms sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: fatal: Access denied for user {user} by PAM account configuration [preauth]

at 0s every 40s times 60 ip=203.0.113.108 user=dora,emil,fritz,greta,hugo,ines,jan,karl,lotte,max
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	sshd-session: pam_sss(sshd:auth): Request to sssd failed. Connection refused
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+3s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
