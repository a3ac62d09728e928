# An attacker uses a new address of one /64 for each guess.
must 2001:db8:6:7::{1..a:x}

at 0s every 6s times 10 ip=2001:db8:6:7::{n+1:x} user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
