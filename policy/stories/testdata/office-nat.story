# An office of forty behind one address. Each working day three colleagues mistype within ten
# minutes in the morning and are in at the second try.
never 203.0.113.4

at 8h every 150s times 3 ip=203.0.113.4 user=carol,dave,erin
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)

at 32h every 150s times 3 ip=203.0.113.4 user=carol,dave,erin
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)

at 56h every 150s times 3 ip=203.0.113.4 user=carol,dave,erin
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)

at 80h every 150s times 3 ip=203.0.113.4 user=carol,dave,erin
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)

at 104h every 150s times 3 ip=203.0.113.4 user=carol,dave,erin
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+4s sshd-session: Accepted password for {user} from {ip} port {port} ssh2
	sshd-session: pam_unix(sshd:session): session opened for user {user}(uid=1001) by {user}(uid=0)
