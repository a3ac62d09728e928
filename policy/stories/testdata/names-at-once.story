# Five logins at once with three names, one of which does not exist here and is used twice. This is
# not somebody misspelling a name.
must 198.51.100.178

at 0s every 100ms times 2 ip=198.51.100.178 user=admin
	sshd-session: Invalid user {user} from {ip} port {port}
	+200ms sshd-session: Failed password for invalid user {user} from {ip} port {port} ssh2

at 20ms every 40ms times 3 ip=198.51.100.178 user=root,root,bob
	+200ms sshd-session: Failed password for {user} from {ip} port {port} ssh2
