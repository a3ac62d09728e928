# Twelve names that do not exist, one every half minute, twice over, without a password: a name list.
must 198.51.100.14

at 0s every 30s times 24 ip=198.51.100.14 user=svc0,svc1,svc2,svc3,svc4,svc5,svc6,svc7,svc8,svc9,svc10,svc11
	sshd-session: Invalid user {user} from {ip} port {port}
	+400ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]
