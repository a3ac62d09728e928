# Two RADIUS servers check one-time passwords, and a firewall now blocks them. One office uses sshd's
# password method, another keyboard-interactive; all enter the right codes.
never 203.0.113.{110..111}

at 0s every 50s times 24 ip=203.0.113.110 user=ada,bert,cleo,dirk,edda,falk
	sshd-session: pam_radius_auth(sshd:auth): RADIUS server 192.0.2.90 failed to respond
	+3s sshd-session: pam_radius_auth(sshd:auth): RADIUS server 192.0.2.91 failed to respond
	sshd-session: pam_radius_auth(sshd:auth): All RADIUS servers failed to respond.
	+100ms sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+2s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 10s every 50s times 24 ip=203.0.113.111 user=gabi,hans,ilse,jens,kira,lars
	+6s sshd-session: pam_radius_auth(sshd:auth): All RADIUS servers failed to respond.
	sshd-session: error: PAM: Authentication service cannot retrieve authentication info for {user} from {ip}
	+2s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
