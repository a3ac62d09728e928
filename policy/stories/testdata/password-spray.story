# Forty addresses spray one password over a thousand accounts, each address on another account every
# half hour, for twelve hours.
must 198.51.100.{150..189}

at 0s every 45s times 960 ip=198.51.100.150,198.51.100.151,198.51.100.152,198.51.100.153,198.51.100.154,198.51.100.155,198.51.100.156,198.51.100.157,198.51.100.158,198.51.100.159,198.51.100.160,198.51.100.161,198.51.100.162,198.51.100.163,198.51.100.164,198.51.100.165,198.51.100.166,198.51.100.167,198.51.100.168,198.51.100.169,198.51.100.170,198.51.100.171,198.51.100.172,198.51.100.173,198.51.100.174,198.51.100.175,198.51.100.176,198.51.100.177,198.51.100.178,198.51.100.179,198.51.100.180,198.51.100.181,198.51.100.182,198.51.100.183,198.51.100.184,198.51.100.185,198.51.100.186,198.51.100.187,198.51.100.188,198.51.100.189 user=acct{n}
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
