# As in gssapi, but the user has no key either and closes the password prompt. Six times within
# eight minutes: no password was ever typed.
never 203.0.113.44

at 0s every 80s times 6 ip=203.0.113.44 user=petra
	sshd-session: Failed gssapi-with-mic for {user} from {ip} port {port} ssh2
	+5s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
