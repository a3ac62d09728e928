# A build server deploys over an old JSch, which signs with ssh-rsa. Since the host was upgraded
# sshd refuses that. Every three minutes for four hours, and never a password.
never 203.0.113.112

at 0s every 3m times 80 ip=203.0.113.112 user=build
	sshd-session: userauth_pubkey: signature algorithm ssh-rsa not in PubkeyAcceptedAlgorithms [preauth]
	sshd-session: error: Received disconnect from {ip} port {port}:3: com.jcraft.jsch.JSchException: Auth fail [preauth]
	sshd-session: Disconnected from authenticating user {user} {ip} port {port} [preauth]
