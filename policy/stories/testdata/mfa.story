# publickey, then a one-time code: "Partial" and "Postponed" come with every login (LogLevel
# VERBOSE). Two people of an office mistype the code once.
never 203.0.113.45

at 0s every 3m times 8 ip=203.0.113.45 user=q{n}
	sshd-session: Partial publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
	sshd-session: Postponed keyboard-interactive for {user} from {ip} port {port} ssh2 [preauth]
	+9s sshd-session: Accepted keyboard-interactive/pam for {user} from {ip} port {port} ssh2

at 1m every 4m times 2 ip=203.0.113.45 user=q1,q5
	sshd-session: Partial publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
	sshd-session: Postponed keyboard-interactive for {user} from {ip} port {port} ssh2 [preauth]
	+9s sshd-session: error: PAM: Authentication failure for {user} from {ip}
	sshd-session: Failed keyboard-interactive/pam for {user} from {ip} port {port} ssh2
	sshd-session: Postponed keyboard-interactive for {user} from {ip} port {port} ssh2 [preauth]
	+9s sshd-session: Accepted keyboard-interactive/pam for {user} from {ip} port {port} ssh2
