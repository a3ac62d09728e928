package journaltest

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
)

// Gen writes journal entries like those of a busy mail and login host, in the export format. The same Gen always writes the same bytes. The
// zero value of a field selects its default.
type Gen struct {
	Entries  int     // number of entries; 1,000 by default
	Seed     uint64  // of everything random
	Start    int64   // realtime of the first entry, µs since 1970; 1,700,000,000 s by default
	Step     int64   // mean time between entries in µs; 1,000 by default
	Boots    int     // number of boots, with equally many entries each; 1 by default
	BootSeed uint64  // two Gens with the same BootSeed have the same boot ids, as the files of one host do
	SSHD     float64 // sshd's share of the entries, 0.2 by default; negative for none
	Failures bool    // all entries of sshd are failed passwords, one per attempt
	Sources  int     // number of attacking addresses; 1,000 by default
	Odd      bool    // one entry in fifty is unusual: newlines, NUL, a repeated field, an empty value, 100 KiB
}

// Boot is the id of the i-th boot, as in _BOOT_ID.
func (g Gen) Boot(i int) string {
	r := rand.New(rand.NewPCG(g.BootSeed, uint64(i)+1))
	return fmt.Sprintf("%016x%016x", r.Uint64()&^(0xf<<12)|4<<12, r.Uint64()&^(3<<62)|2<<62)
}

type program struct {
	unit, ident, exe, cmdline, facility string
	uid                                 int
	messages                            []func(g *state) string
}

type state struct {
	Gen
	r *rand.Rand
}

func (s *state) addr() string {
	i := s.r.IntN(cmp.Or(s.Sources, 1000))
	if i%10 == 9 {
		return fmt.Sprintf("2001:db8:%x:%x::%x", i>>16, i&0xffff, i%7+1)
	}
	return fmt.Sprintf("198.%d.%d.%d", 18+i>>16&1, i>>8&255, i&255)
}

func (s *state) user() string { return users[s.r.IntN(len(users))] }
func (s *state) port() int    { return 1024 + s.r.IntN(64000) }

var users = []string{"root", "admin", "test", "oracle", "ubuntu", "bob", "postgres", "git", "www-data", "deploy"}

func failed(s *state) string {
	return fmt.Sprintf("Failed password for %s from %s port %d ssh2", s.user(), s.addr(), s.port())
}

var sshd = program{"ssh.service", "sshd", "/usr/sbin/sshd", "sshd: root [priv]", "4", 0, []func(*state) string{
	failed, failed, failed,
	func(s *state) string {
		return fmt.Sprintf("Failed password for invalid user %s from %s port %d ssh2", s.user(), s.addr(), s.port())
	},
	func(s *state) string {
		return fmt.Sprintf("Invalid user %s from %s port %d", s.user(), s.addr(), s.port())
	},
	func(s *state) string {
		return fmt.Sprintf("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=%s  user=%s", s.addr(), s.user())
	},
	func(s *state) string {
		return fmt.Sprintf("Connection closed by authenticating user %s %s port %d [preauth]", s.user(), s.addr(), s.port())
	},
	func(s *state) string {
		return fmt.Sprintf("Disconnected from authenticating user %s %s port %d [preauth]", s.user(), s.addr(), s.port())
	},
	func(s *state) string {
		return fmt.Sprintf("Received disconnect from %s port %d:11: Bye Bye [preauth]", s.addr(), s.port())
	},
	func(s *state) string {
		return fmt.Sprintf("Accepted publickey for bob from 192.0.2.%d port %d ssh2: ED25519 SHA256:%08x", s.r.IntN(255), s.port(), s.r.Uint32())
	},
	func(s *state) string {
		return "pam_unix(sshd:session): session opened for user bob(uid=1000) by (uid=0)"
	},
}}

var others = []program{
	{"nginx.service", "nginx", "/usr/sbin/nginx", "nginx: worker process", "3", 33, []func(*state) string{
		func(s *state) string {
			return fmt.Sprintf("%s - - \"GET /a/%d HTTP/1.1\" 200 %d", s.addr(), s.r.IntN(5000), s.r.IntN(100000))
		},
		func(s *state) string { // about one entry in a hundred is long enough to be compressed (512 bytes)
			b := fmt.Appendf(nil, "upstream said: ")
			for s.r.IntN(8) == 0 || len(b) > 15 && len(b) < 700 {
				b = fmt.Appendf(b, "header%d: value of %d; ", s.r.IntN(50), s.r.IntN(1000))
			}
			return fmt.Sprintf("%s%d", b, s.r.IntN(1e6))
		},
	}},
	{"postfix@-.service", "postfix/smtpd", "/usr/lib/postfix/sbin/smtpd", "smtpd -n smtp -t inet -u -c", "2", 100, []func(*state) string{
		func(s *state) string { return fmt.Sprintf("connect from unknown[%s]", s.addr()) },
		func(s *state) string {
			return fmt.Sprintf("disconnect from unknown[%s] ehlo=1 auth=0/1 quit=1 commands=2/3", s.addr())
		},
		func(s *state) string {
			return fmt.Sprintf("warning: unknown[%s]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=%s", s.addr(), s.user())
		},
	}},
	{"dovecot.service", "dovecot", "/usr/sbin/dovecot", "dovecot/auth", "2", 0, []func(*state) string{
		func(s *state) string {
			return fmt.Sprintf("imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<%s>, method=PLAIN, rip=%s, lip=192.0.2.1, session=<%08x>", s.user(), s.addr(), s.r.Uint32())
		},
	}},
	{"cron.service", "CRON", "/usr/sbin/cron", "/usr/sbin/CRON -f", "10", 0, []func(*state) string{
		func(*state) string {
			return "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"
		},
		func(*state) string { return "(root) CMD (cd / && run-parts --report /etc/cron.hourly)" },
	}},
	{"init.scope", "systemd", "/usr/lib/systemd/systemd", "/usr/lib/systemd/systemd --system", "3", 0, []func(*state) string{
		func(s *state) string {
			return fmt.Sprintf("run-u%d.service: Deactivated successfully.", s.r.IntN(100000))
		},
		func(*state) string { return "Starting logrotate.service - Rotate log files..." },
	}},
}

// WriteTo writes the entries. It implements io.WriterTo.
func (g Gen) WriteTo(w io.Writer) (int64, error) {
	g.Entries, g.Start, g.Step = cmp.Or(g.Entries, 1000), cmp.Or(g.Start, 1_700_000_000_000_000), cmp.Or(g.Step, 1000)
	g.Boots, g.SSHD = cmp.Or(g.Boots, 1), cmp.Or(g.SSHD, 0.2)
	s := &state{Gen: g, r: rand.New(rand.NewPCG(g.Seed, 22))}
	bw := bufio.NewWriterSize(w, 1<<16)
	var (
		n    int64
		b    []byte
		now  = g.Start
		boot = -1
		mono int64
		id   string
	)
	for i := range g.Entries {
		if k := i * g.Boots / g.Entries; k != boot {
			boot, mono, id = k, 1_000_000, g.Boot(k)
			if k > 0 {
				now += 30_000_000
			}
		}
		d := 1 + s.r.Int64N(2*g.Step)
		now, mono = now+d, mono+d
		b = s.entry(b[:0], now, mono, id)
		m, err := bw.Write(b)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, bw.Flush()
}

func (s *state) entry(b []byte, now, mono int64, boot string) []byte {
	p := &sshd
	if s.r.Float64() >= s.SSHD {
		p = &others[s.r.IntN(len(others))]
	}
	message := p.messages[s.r.IntN(len(p.messages))]
	if p == &sshd && s.Failures {
		message = failed
	}
	pid := 300 + s.r.IntN(30000)
	num := func(b []byte, name string, v int64) []byte {
		return append(strconv.AppendInt(append(b, name...), v, 10), '\n')
	}
	text := func(b []byte, name, v string) []byte {
		return append(append(append(b, name...), v...), '\n')
	}
	b = num(b, "__REALTIME_TIMESTAMP=", now)
	b = num(b, "__MONOTONIC_TIMESTAMP=", mono)
	b = text(b, "_BOOT_ID=", boot)
	b = append(b, "PRIORITY="...)
	b = append(b, '0'+byte(3+s.r.IntN(4)), '\n')
	b = num(b, "_UID=", int64(p.uid))
	b = num(b, "_GID=", int64(p.uid))
	b = append(b, "_SYSTEMD_SLICE=system.slice\n_MACHINE_ID=3f0c1d2e4b5a69788796a5b4c3d2e1f0\n_HOSTNAME=mail.example.net\n_CAP_EFFECTIVE=1ffffffffff\n_TRANSPORT=syslog\n"...)
	b = text(b, "SYSLOG_FACILITY=", p.facility)
	b = text(b, "SYSLOG_IDENTIFIER=", p.ident)
	b = text(b, "_COMM=", p.ident)
	b = text(b, "_EXE=", p.exe)
	b = text(b, "_CMDLINE=", p.cmdline)
	b = text(b, "_SYSTEMD_CGROUP=/system.slice/", p.unit)
	b = text(b, "_SYSTEMD_UNIT=", p.unit)
	b = text(b, "_SYSTEMD_INVOCATION_ID=", boot)
	b = num(b, "SYSLOG_PID=", int64(pid))
	b = fmt.Appendf(b, "SYSLOG_TIMESTAMP=Nov 22 %02d:%02d:%02d \n", now/3_600_000_000%24, now/60_000_000%60, now/1_000_000%60)
	b = num(b, "_PID=", int64(pid))
	if s.Odd && s.r.IntN(50) == 0 {
		switch s.r.IntN(5) {
		case 0:
			b = Field(b, "MESSAGE", []byte("first line\n\nMESSAGE=forged\nlast line"))
		case 1:
			b = Field(b, "MESSAGE", []byte("\x00\xff=\n\x00"))
		case 2:
			b = append(b, "MESSAGE=one of two\nTWICE=a\nTWICE=b\nTWICE=\n"...)
		case 3:
			b = append(b, "MESSAGE=\n"...)
		case 4:
			long := make([]byte, 100<<10)
			for i := range long {
				long[i] = "abcdefgh "[s.r.IntN(9)]
			}
			b = Field(b, "MESSAGE", long)
		}
	} else {
		b = text(b, "MESSAGE=", message(s))
	}
	b = num(b, "_SOURCE_REALTIME_TIMESTAMP=", now-15)
	return append(b, '\n')
}
