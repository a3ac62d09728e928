package filter

import (
	"syscall"
	"testing"
	"time"
)

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
	patterns := len(m.Patterns())
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
	b.ReportMetric(float64(patterns), "patterns")
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

// otherLines are lines of daemons that are nobody's failure, like most of a journal.
var otherLines = map[string][]string{
	"sshd": benchMisses,
	"postfix": {
		"connect from unknown[198.51.100.28]", "disconnect from mail.example.net[198.51.100.28] ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7",
		"4fYk2D1Cz1z2: client=mail.example.net[198.51.100.28]", "4fYk2D1Cz1z2: message-id=<20261122101010.4fYk2D1Cz1z2@mail.example.net>",
		"4fYk2D1Cz1z2: from=<a@example.net>, size=185, nrcpt=1 (queue active)", "4fYk2D1Cz1z2: removed",
		"4fYk2D1Cz1z2: to=<bob@example.test>, relay=local, delay=0.03, delays=0.01/0.01/0/0, dsn=2.0.0, status=sent (delivered to mailbox)",
		"Anonymous TLS connection established from mail.example.net[198.51.100.28]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)",
		"CONNECT from [198.51.100.28]:40112 to [192.0.2.1]:25", "PASS OLD [198.51.100.28]:40112",
		"warning: hostname mail.example.net does not resolve to address 198.51.100.28: Name or service not known",
	},
	"dovecot": {
		"imap(bob)<476><fT9Sf95gh4/GM2Q5>: Disconnected: Logged out in=8 out=480 deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0 body_count=0 body_bytes=0",
		"lmtp(bob)<476><fT9Sf95gh4/GM2Q5>: msgid=<x@example.net>: saved mail to INBOX", "lmtp(1234): Connect from local", "pop3(bob)<9><s>: Disconnected: Logged out top=0/0, retr=0/0, del=0/3, size=1024",
	},
	"sendmail-auth": {
		"64KDmZ0x012345: from=<a@example.net>, size=1024, class=0, nrcpts=1, msgid=<x@example.net>, proto=ESMTP, daemon=MTA-v4, relay=mail.example.net [198.51.100.28]",
		"64KDmZ0x012345: to=<bob@example.test>, delay=00:00:01, xdelay=00:00:00, mailer=local, pri=31024, dsn=2.0.0, stat=Sent",
		"STARTTLS=server, relay=mail.example.net [198.51.100.28], version=TLSv1.3, verify=NO, cipher=TLS_AES_256_GCM_SHA384, bits=256/256",
	},
	"nginx-http-auth": {
		"2026/11/22 22:49:57 [notice] 24#24: signal process started",
		`2026/11/22 22:49:57 [warn] 24#24: *7 an upstream response is buffered to a temporary file /var/lib/nginx/proxy/1/00 while reading upstream, client: 198.51.100.62, server: s, request: "GET /big HTTP/1.1", upstream: "http://127.0.0.1:8080/big", host: "www.example.org"`,
		`198.51.100.62 - - [22/Nov/2026:22:49:57 +0000] "GET /index.html HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11; Linux x86_64)"`,
		`198.51.100.62 - bob [22/Nov/2026:22:49:58 +0000] "POST /api/v1/items?page=2 HTTP/2.0" 201 88 "https://www.example.org/items" "Mozilla/5.0 (X11; Linux x86_64)"`,
	},
	"apache-auth": {
		"[Sun Nov 22 22:49:57.066351 2026] [mpm_event:notice] [pid 36:tid 36] AH00489: Apache/2.4.62 (Debian) configured -- resuming normal operations",
		"[Sun Nov 22 22:49:57.066351 2026] [core:notice] [pid 36:tid 36] AH00094: Command line: '/usr/sbin/apache2'",
		"[Sun Nov 22 22:49:57.066351 2026] [proxy:error] [pid 36:tid 77] (111)Connection refused: AH00957: http: attempt to connect to 127.0.0.1:8080 (localhost) failed",
	},
	"named-refused": {"client @0x7f0a 198.51.100.62#40112 (www.example.org): query: www.example.org IN A +E(0)K (192.0.2.1)", "zone example.org/IN: sending notifies (serial 2026112201)"},
	"exim": {
		"1qXyZa-0006mY-79 <= a@example.net H=mail.example.net [198.51.100.28] P=esmtps X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256 S=1024 id=x@example.net",
		"1qXyZa-0006mY-79 => bob <bob@example.test> R=local_user T=mail_spool", "1qXyZa-0006mY-79 Completed", "Start queue run: pid=1234",
	},
}

// mixed makes a benchmark's input: lines, each with the matchers of the filters that look at the unit that wrote it, as
// policy.Engine has them, every filter being on in its widest mode.
type routed struct {
	line []byte
	ms   []*Matcher
}

func routes(b *testing.B) func(unit string) []*Matcher {
	byUnit := make(map[string][]*Matcher)
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			b.Fatal(err)
		}
		m := f.matchers[f.Modes[len(f.Modes)-1]]
		for _, u := range append(f.trust.Units, f.trust.Slices...) {
			byUnit[u] = append(byUnit[u], m)
		}
	}
	return func(unit string) []*Matcher { return byUnit[unit] }
}

func runAll(b *testing.B, lines []routed, want int) {
	b.ReportAllocs()
	var h Hit
	hits := 0
	begin := processorTime(b)
	for i := 0; b.Loop(); i++ {
		r := &lines[i%len(lines)]
		for _, m := range r.ms {
			if m.MatchMessage(r.line, &h) {
				hits++
			}
		}
		if want == 0 && hits > 0 {
			b.Fatalf("%q: %s took it", r.line, h.Pattern.Name)
		}
	}
	b.ReportMetric(float64(processorTime(b)-begin)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(len(lines)), "lines")
}

// processorTime returns the CPU time of this process, which says more than wall-clock time on a machine that does other
// things, too.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAllHits gives each filter's own test lines that match to all filters that look at that unit.
func BenchmarkAllHits(b *testing.B) {
	route := routes(b)
	var lines []routed
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			b.Fatal(err)
		}
		m, own := f.matchers[f.Modes[len(f.Modes)-1]], append(f.trust.Units, f.trust.Slices...)[0]
		for i := range f.rules().tests {
			var h Hit
			if m.MatchMessage(f.rules().tests[i].line, &h) {
				lines = append(lines, routed{f.rules().tests[i].line, route(own)})
			}
		}
	}
	runAll(b, lines, 1)
}

// BenchmarkAllMisses gives lines that are nobody's failure, as most of a journal is, to all filters that look at that unit.
func BenchmarkAllMisses(b *testing.B) {
	misses(b, func(f *Filter) []string { return otherLines[f.Name] })
}

// BenchmarkAllNearMisses gives the test lines that must match nothing: they look like failures, and are expensive.
func BenchmarkAllNearMisses(b *testing.B) {
	misses(b, func(f *Filter) (l []string) {
		for i := range f.rules().tests {
			if f.rules().tests[i].miss {
				l = append(l, string(f.rules().tests[i].line))
			}
		}
		return l
	})
}

func misses(b *testing.B, of func(*Filter) []string) {
	route := routes(b)
	var lines []routed
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			b.Fatal(err)
		}
		ms := route(append(f.trust.Units, f.trust.Slices...)[0])
	next:
		for _, l := range of(f) {
			for _, m := range ms {
				var h Hit
				if m.MatchMessage([]byte(l), &h) { // by its widest mode, or another filter of the unit
					continue next
				}
			}
			lines = append(lines, routed{[]byte(l), ms})
		}
	}
	runAll(b, lines, 0)
}

// BenchmarkEach is the same filter by filter: which of them is slow?
func BenchmarkEach(b *testing.B) {
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			b.Fatal(err)
		}
		m := f.matchers[f.Modes[len(f.Modes)-1]]
		var hits, misses []routed
		for i := range f.rules().tests {
			var h Hit
			r := routed{f.rules().tests[i].line, []*Matcher{m}}
			if m.MatchMessage(r.line, &h) {
				hits = append(hits, r)
			} else {
				misses = append(misses, r)
			}
		}
		b.Run(name+"/hits", func(b *testing.B) { runAll(b, hits, 1) })
		if len(misses) > 0 {
			b.Run(name+"/misses", func(b *testing.B) { runAll(b, misses, 0) })
		}
	}
}
