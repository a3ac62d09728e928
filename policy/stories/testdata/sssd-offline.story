# The directory is down for half an hour. Eight people of an office try to log in, three times each;
# sssd says that it could not ask. Nobody was guessing.
never 203.0.113.33

at 0s every 70s times 24 ip=203.0.113.33 user=w0,w1,w2,w3,w4,w5,w6,w7
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+5s sshd-session: pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip} user={user}
	+10ms sshd-session: pam_sss(sshd:auth): received for user {user}: 9 (Authentication service cannot retrieve authentication info)
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
