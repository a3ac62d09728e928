# A host that accepts keys only. One address goes through six names that do not exist, one every
# four minutes, again and again all day. Another changes the user within a connection, which no
# ordinary client does.
must 198.51.100.{148..149}

at 0s every 4m times 180 ip=198.51.100.148 user=admin,test,user,oracle,ubuntu,postgres
	sshd-session: Invalid user {user} from {ip} port {port}
	+400ms sshd-session: Connection closed by invalid user {user} {ip} port {port} [preauth]

at 0s every 20s times 20 ip=198.51.100.149 user=root
	sshd-session: Disconnecting authenticating user {user} {ip} port {port}: Change of username or service not allowed: (root,ssh-connection) -> (admin,ssh-connection) [preauth]
