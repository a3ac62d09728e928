# FTP guesses that begin with "anonymous" each time, which does not count, and go on with names.
must 198.51.100.{211..212}

at 0s every 20s times 12 ip=198.51.100.211 user=web{n}
	proftpd: ftp.example.com (198.51.100.211[{ip}]) - USER anonymous: no such user found from 198.51.100.211 [{ip}] to ::ffff:192.0.2.21:21
	+2s proftpd: ftp.example.com (198.51.100.211[{ip}]) - USER {user}: no such user found from 198.51.100.211 [{ip}] to ::ffff:192.0.2.21:21

at 0s every 20s times 12 ip=198.51.100.212 user=admin
	vsftpd: [anonymous] FAIL LOGIN: Client "{ip}"
	+2s vsftpd: pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser={user} rhost={ip}  user={user}
	+2s vsftpd: [{user}] FAIL LOGIN: Client "{ip}"
