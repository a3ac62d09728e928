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

func benchmark(b *testing.B, lines []string, want bool) {
	f, err := LoadBuiltin("sshd")
	if err != nil {
		b.Fatal(err)
	}
	m, err := f.Mode("aggressive")
	if err != nil {
		b.Fatal(err)
	}
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

func BenchmarkHit(b *testing.B)  { benchmark(b, benchHits, true) }
func BenchmarkMiss(b *testing.B) { benchmark(b, benchMisses, false) }
