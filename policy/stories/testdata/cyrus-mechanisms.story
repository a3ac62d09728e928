# Cyrus offers GSSAPI to a laptop whose ticket has run out, and DIGEST-MD5 to an office though it
# has no secrets. Both programs try what is offered first and then log in by PLAIN, all day. Neither
# mechanism names a user.
never 203.0.113.{129..130}

at 0s every 2m times 240 ip=203.0.113.129 user=fred
	cyrus/imaps: badlogin: laptop.example.org [{ip}] GSSAPI [SASL(-13): authentication failure: GSSAPI Failure: gss_accept_sec_context]
	+3500ms cyrus/imaps: login: laptop.example.org [{ip}] {user} PLAIN+TLS User logged in SESSIONID=<cyrus-821-1795305600-1-123456789{n}>

at 0s every 20s times 600 ip=203.0.113.130 user=u1,u2,u3,u4,u5,u6,u7,u8
	cyrus/imap: badlogin: office.example.org [{ip}] DIGEST-MD5 [SASL(-13): user not found: no secret in database]
	+3500ms cyrus/imap: login: office.example.org [{ip}] {user} PLAIN+TLS User logged in
