# An FTP server on a host with sssd; it logs into its own file, so the journal has PAM's lines only.
# pam_unix fails for each domain user first. An office uploads twenty times within ten minutes.
never 203.0.113.70

at 0s every 30s times 20 ip=203.0.113.70 user=f0,f1,f2,f3,f4
	vsftpd: pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser={user} rhost={ip}
	vsftpd: pam_sss(vsftpd:auth): authentication success; logname= uid=0 euid=0 tty=ftp ruser={user} rhost={ip} user={user}
