# An office behind one address. A build host's key was taken away: it fetches as git every ten seconds, and
# sshd penalises the address. The agent of a colleague offers eight keys and is cut off four times.
# Another mistypes once, goes for coffee and is in ten minutes later.
never 203.0.113.32
must 198.51.100.15

at 0s every 10s times 180 ip=203.0.113.32 user=git
	sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	+2s sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.1]:22 penalty: failed authentication

at 5m every 1m times 4 ip=203.0.113.32 user=bob
	sshd-session: error: maximum authentication attempts exceeded for {user} from {ip} port {port} ssh2 [preauth]
	sshd-session: Disconnecting authenticating user {user} {ip} port {port}: Too many authentication failures [preauth]

at 4m ip=203.0.113.32 user=carol
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]

at 14m ip=203.0.113.32 user=carol
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

# sshd checks one password guess at root a minute, and drops the attacker's other connections.
at 0s every 1m times 30 ip=198.51.100.15 user=root
	sshd-session: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
	+10s sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.1]:22 penalty: failed authentication
	+15s sshd: drop connection #0 from [{ip}]:{port} on [192.0.2.1]:22 penalty: failed authentication
