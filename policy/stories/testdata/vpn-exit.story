# An attacker behind a VPN's exit guesses bob's password once a second, for an hour. Bob logged in
# through the same exit yesterday. A device with an old password fails often, but not this often.
must 198.51.100.209

at 0s ip=198.51.100.209 user=bob
	sshd-session: Accepted password for {user} from {ip} port {port} ssh2

at 24h every 1s times 3600 ip=198.51.100.209 user=bob
	+2s sshd-session: Failed password for {user} from {ip} port {port} ssh2
