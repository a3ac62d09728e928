# sendmail offers CRAM-MD5 without secrets. A mail program tries it first, then logs in by LOGIN: a
# mail every two minutes, for two hours.
never 203.0.113.131

at 0s every 2m times 60 ip=203.0.113.131 user=sven
	sm-mta: 5ARBmQ3k01{n+1000}: AUTH failure (CRAM-MD5): user not found (-20) SASL(-13): user not found: no secret in database, relay=dsl.example.net [{ip}]
	+1s sm-mta: AUTH=server, relay=dsl.example.net [{ip}], authid={user}, mech=LOGIN, bits=0
