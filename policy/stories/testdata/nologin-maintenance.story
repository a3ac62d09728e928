# A host is closed for maintenance: /etc/nologin is there. Eight people of an office did not read
# the mail about it and try twice each within a quarter of an hour, with their right passwords. sshd
# logs "Failed password" first, and only then that PAM's account rules refused. The same happens to
# four new colleagues elsewhere, who are not yet in the group that pam_succeed_if requires.
never 203.0.113.{105..106}

at 0s every 52s times 16 ip=203.0.113.105 user=kate,luis,mara,noel,oona,pia,quin,rosa
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+10ms sshd-session: fatal: Access denied for user {user} by PAM account configuration [preauth]

at 0s every 40s times 12 ip=203.0.113.106 user=wanda,xaver,yuri,zoe
	+2s sshd-session: pam_succeed_if(sshd:account): requirement "user ingroup shell-users" not met by user "{user}"
	+10ms sshd-session: Failed password for {user} from {ip} port {port} ssh2
	sshd-session: fatal: Access denied for user {user} by PAM account configuration [preauth]
