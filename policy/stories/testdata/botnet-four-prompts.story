# Sixty hosts, one connection each with four passwords for root within five hours. From the tenth on root is
# under attack, and the fourth guess is one too many.
must 198.51.100.{10..60}

at 0s every 290s times 60 ip=198.51.100.{n+1} user=root
	sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+3s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+3s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+3s sshd-session: Failed password for {user} from {ip} port {port} ssh2
	+1s sshd-session: Connection closed by authenticating user {user} {ip} port {port} [preauth]
