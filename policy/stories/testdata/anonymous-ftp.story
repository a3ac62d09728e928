# Browsers and file managers try "anonymous", some also "ftp", before they ask for a name. Two
# offices open their FTP folder every minute, one at vsftpd and one at ProFTPD: each time two
# connections try such names, and a third logs in.
never 203.0.113.{142..143}

at 0s every 1m times 15 ip=203.0.113.142
	vsftpd: pam_unix(vsftpd:auth): check pass; user unknown
	vsftpd: pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser=anonymous rhost={ip}
	+2s vsftpd: [anonymous] FAIL LOGIN: Client "{ip}"

at 4s every 1m times 15 ip=203.0.113.142
	vsftpd: pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser=ftp rhost={ip}  user=ftp
	+2s vsftpd: [ftp] FAIL LOGIN: Client "{ip}"

at 20s every 1m times 15 ip=203.0.113.142 user=client1,client2,client3
	vsftpd: [{user}] OK LOGIN: Client "{ip}"

at 0s every 30s times 30 ip=203.0.113.143
	proftpd: ftp.example.com (office.example.org[{ip}]) - USER anonymous: no such user found from office.example.org [{ip}] to ::ffff:192.0.2.21:21

at 20s every 1m times 15 ip=203.0.113.143 user=client4,client5
	proftpd: ftp.example.com (office.example.org[{ip}]) - USER {user}: Login successful.
