# A build host logs in as git every minute for a day. With LogLevel VERBOSE sshd logs each time that
# its first key fails; its second key is accepted.
never 203.0.113.18

at 0s every 1m times 1440 ip=203.0.113.18 user=git
	sshd-session: Failed publickey for {user} from {ip} port {port} ssh2: RSA SHA256:0ldKeyThatNobodyTookOutOfTheAgent00000000000
	+200ms sshd-session: Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:q3cKvU2fXzV8l1mB0nGxT7sWwPj5dRhYtEoAeIyZc4M
