# A printer sends its scans through the wrong port: "Relay access denied", eight times whenever
# somebody scans.
never 203.0.113.51

at 0m every 15s times 8 ip=203.0.113.51
	postfix/smtpd: NOQUEUE: reject: RCPT from unknown[{ip}]: 554 5.7.1 <boss@example.com>: Relay access denied; from=<scan@example.org> to=<boss@example.com> proto=ESMTP helo=<printer>

at 90m every 15s times 8 ip=203.0.113.51
	postfix/smtpd: NOQUEUE: reject: RCPT from unknown[{ip}]: 554 5.7.1 <boss@example.com>: Relay access denied; from=<scan@example.org> to=<boss@example.com> proto=ESMTP helo=<printer>

at 200m every 15s times 8 ip=203.0.113.51
	postfix/smtpd: NOQUEUE: reject: RCPT from unknown[{ip}]: 554 5.7.1 <boss@example.com>: Relay access denied; from=<scan@example.org> to=<boss@example.com> proto=ESMTP helo=<printer>
