package filter

import "testing"

// The lines are the daemons' own shapes, so that a pattern that is slow for them shows.
var benchHits = []string{
	"Failed password for bob from 198.51.100.4 port 40112 ssh2",
	"Failed password for invalid user admin from 2001:db8::2 port 33033 ssh2",
	"Invalid user nosuch from 198.51.100.6 port 56761",
	"pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=198.51.100.1  user=bob",
	"error: maximum authentication attempts exceeded for alice from 198.51.100.6 port 44429 ssh2 [preauth]",
	"Connection closed by authenticating user bob 198.51.100.7 port 4001 [preauth]",
}

var benchMisses = []string{
	"pam_unix(sshd:session): session opened for user bob(uid=1000) by bob(uid=0)",
	"pam_unix(sshd:auth): check pass; user unknown",
	"Server listening on 0.0.0.0 port 22.",
	"error: kex_exchange_identification: read: Connection reset by peer",
	"Starting session: shell on pts/0 for bob from 198.51.100.4 port 40112 id 0",
	"GET /index.html HTTP/1.1 200 612 \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
}

func benchmark(b *testing.B, filter string, lines []string, want bool) {
	m := matcher(b, filter, "aggressive")
	msgs := make([][]byte, len(lines))
	for i, l := range lines {
		msgs[i] = []byte(l)
	}
	var h Hit
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if m.MatchMessage(msgs[i%len(msgs)], &h) != want {
			b.Fatalf("%q", msgs[i%len(msgs)])
		}
	}
	b.ReportMetric(float64(len(m.patterns)), "patterns")
}

func BenchmarkHit(b *testing.B)  { benchmark(b, "sshd", benchHits, true) }
func BenchmarkMiss(b *testing.B) { benchmark(b, "sshd", benchMisses, false) }

func BenchmarkMailHit(b *testing.B) {
	b.Run("postfix", func(b *testing.B) {
		benchmark(b, "postfix", []string{
			"warning: unknown[198.51.100.20]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=bob",
			"NOQUEUE: reject: RCPT from unknown[198.51.100.30]: 554 5.7.1 <victim@example.org>: Relay access denied; from=<a@example.net> to=<victim@example.org> proto=ESMTP helo=<x>",
		}, true)
	})
	b.Run("dovecot", func(b *testing.B) {
		benchmark(b, "dovecot", []string{
			"imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 5 secs): user=<bob>, method=PLAIN, rip=198.51.100.50, lip=192.0.2.1, session=<n0WMfN5g75LGM2Qy>",
			"auth-worker(462): conn unix:auth-worker (pid=460,uid=102): auth-worker<1>: pam(bob,198.51.100.20): pam_authenticate() failed: Authentication failure (Password mismatch?)",
		}, true)
	})
}

func BenchmarkMailMiss(b *testing.B) {
	b.Run("postfix", func(b *testing.B) {
		benchmark(b, "postfix", []string{
			"connect from unknown[198.51.100.28]",
			"4fYk2D1Cz1z2: from=<a@example.net>, size=185, nrcpt=1 (queue active)",
			"4fYk2D1Cz1z2: to=<bob@example.test>, relay=local, delay=0.03, delays=0.01/0.01/0/0, dsn=2.0.0, status=sent (delivered to mailbox)",
			"4fYk2D1Cz1z2: removed",
		}, false)
	})
	b.Run("dovecot", func(b *testing.B) {
		benchmark(b, "dovecot", []string{
			"imap(bob)<476><fT9Sf95gh4/GM2Q5>: Disconnected: Logged out in=8 out=480 deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0 body_count=0 body_bytes=0",
			"lmtp(bob)<476><fT9Sf95gh4/GM2Q5>: msgid=<x@example.net>: saved mail to INBOX",
		}, false)
	})
}
