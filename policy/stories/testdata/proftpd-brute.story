# FTP guesses through PAM. ProFTPD's own lines about them are in its log file.
must 198.51.100.190

at 0s every 5s times 8 ip=198.51.100.190 user=bob
	proftpd: pam_unix(proftpd:auth): authentication failure; logname= uid=0 euid=0 tty=/dev/ftpd{pid} ruser={user} rhost={ip}  user={user}
