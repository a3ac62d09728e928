# A phone registers at an exchange after its secret was mistyped three times, a minute apart.
# Asterisk logs a notice and a security event about each failure.
never 203.0.113.177
on asterisk

at 0s every 1m times 3 ip=203.0.113.177
	asterisk: NOTICE[3477]: res_pjsip/pjsip_distributor.c:673 in log_failed_request: Request 'REGISTER' from '"31" <sip:31@192.0.2.5>' failed for '{ip}:5060' (callid: {n}-77@{ip}) - Failed to authenticate
	+1ms asterisk: SECURITY[3477]: res_security_log.c:114 in security_event_stasis_cb: SecurityEvent="ChallengeResponseFailed",EventTV="2026-11-22T22:49:55.123+0000",Severity="Error",Service="PJSIP",EventVersion="1",AccountID="31",SessionID="{n}-77",LocalAddress="IPV4/UDP/192.0.2.5/5060",RemoteAddress="IPV4/UDP/{ip}/5060",Challenge="1",Response="a1b2",ExpectedResponse=""

at 4m ip=203.0.113.177
	asterisk: SECURITY[3477]: res_security_log.c:114 in security_event_stasis_cb: SecurityEvent="SuccessfulAuth",EventTV="2026-11-22T22:53:55.123+0000",Severity="Informational",Service="PJSIP",EventVersion="1",AccountID="31",SessionID="9-77",LocalAddress="IPV4/UDP/192.0.2.5/5060",RemoteAddress="IPV4/UDP/{ip}/5060",UsingPassword="1"
