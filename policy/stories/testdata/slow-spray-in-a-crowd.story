# Sixty people of an office read mail. Somebody behind the same address guesses at forty mailboxes
# that are in use, one every four minutes, in turn: too many for devices with an old password.
must 203.0.113.158

at 0s times 40 ip=192.0.2.80 user=v{n}@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<h{n:x}>

at 0s every 20s times 60 ip=203.0.113.158 user=c{n}@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<m{n:x}>

at 1h every 4m times 160 ip=203.0.113.158 user=v0@example.org,v1@example.org,v2@example.org,v3@example.org,v4@example.org,v5@example.org,v6@example.org,v7@example.org,v8@example.org,v9@example.org,v10@example.org,v11@example.org,v12@example.org,v13@example.org,v14@example.org,v15@example.org,v16@example.org,v17@example.org,v18@example.org,v19@example.org,v20@example.org,v21@example.org,v22@example.org,v23@example.org,v24@example.org,v25@example.org,v26@example.org,v27@example.org,v28@example.org,v29@example.org,v30@example.org,v31@example.org,v32@example.org,v33@example.org,v34@example.org,v35@example.org,v36@example.org,v37@example.org,v38@example.org,v39@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}>
