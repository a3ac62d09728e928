# A monitor of the mail provider logs in to submission every minute with a test account, and sends
# nothing. pam_unix fails first, as on every host with sssd.
never 203.0.113.39

at 0s every 1m times 60 ip=203.0.113.39 user=probe
	postfix/submission/smtpd: connect from probe.example.net[{ip}]
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	auth: pam_sss(dovecot:auth): authentication success; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip} user={user}
	postfix/submission/smtpd: disconnect from probe.example.net[{ip}] ehlo=2 starttls=1 auth=1 quit=1 commands=5
