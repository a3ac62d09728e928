// Package stories tells what happens to hosts in a day: people who mistype passwords, programs that go on with an old one,
// monitors, mail providers, and attackers. Each file in testdata is one story, played through the built-in filters, the
// default configuration and the policy engine, as `bailiff replay` would play the journal of that day.
//
// A story's head is a comment that says what happens, and why the addresses in it must never be banned, or must be.
//
//	# An office behind one address: ...
//	never 203.0.113.27
//	must 198.51.100.{1..60}
//	on asterisk
//
//	at 0s every 45s times 12 user=anna,ben,carla
//		sshd-session: Accepted password for {user} from 203.0.113.27 port {port} ssh2
//		+2s auth: ...
//
// on enables a jail that is off by default. A block of lines is played `times` times, once in `every`, beginning `at` this time of the
// story. +2s is the delay after the previous line (default: 100 ms). For programs that start a process per connection, each
// repetition of a block is a new process. In lines, {n} is the number of the repetition (from 0), {n+3} that number plus 3, {n:x} the
// number in hexadecimal, {port} a port derived from it, {pid} the process id. name=text sets {name}; the values of a list with commas
// are used in turn.
package stories

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/policy"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// program is what journald says of a program's entries.
type program struct {
	unit, exe string
	uid       int64
	pid       uint32 // 0: one for each connection
	stream    bool   // it writes to standard output
}

// programs are known by their SYSLOG_IDENTIFIER.
var programs = map[string]program{
	"sshd":                      {"ssh.service", "/usr/sbin/sshd", 0, 73, false},
	"sshd-session":              {"ssh.service", "/usr/lib/openssh/sshd-session", 0, 0, false},
	"postfix/smtpd":             {"postfix.service", "/usr/lib/postfix/sbin/smtpd", 104, 535, false},
	"postfix/submission/smtpd":  {"postfix.service", "/usr/lib/postfix/sbin/smtpd", 104, 536, false},
	"postfix/submissions/smtpd": {"postfix.service", "/usr/lib/postfix/sbin/smtpd", 104, 537, false},
	"postfix/postscreen":        {"postfix.service", "/usr/lib/postfix/sbin/postscreen", 104, 538, false},
	"dovecot":                   {"dovecot.service", "/usr/lib/dovecot/log", 0, 97, false},
	"auth":                      {"dovecot.service", "/usr/lib/dovecot/auth", 0, 540, false},
	"cyrus/imap":                {"cyrus-imapd.service", "/usr/lib/cyrus/bin/imapd", 105, 820, false},
	"cyrus/imaps":               {"cyrus-imapd.service", "/usr/lib/cyrus/bin/imapd", 105, 821, false},
	"imapd":                     {"courier-imap.service", "/usr/sbin/courierlogger", 0, 830, false},
	"exim":                      {"exim4.service", "/usr/sbin/exim4", 100, 0, false},
	"sm-mta":                    {"sendmail.service", "/usr/lib/sm.bin/sendmail", 0, 0, false},
	"vsftpd":                    {"vsftpd.service", "/usr/sbin/vsftpd", 0, 0, false},
	"proftpd":                   {"proftpd.service", "/usr/sbin/proftpd", 0, 0, false},
	"cockpit-session":           {"cockpit.service", "/usr/lib/cockpit/cockpit-session", 0, 0, false},
	"nginx":                     {"nginx.service", "/usr/sbin/nginx", 33, 601, false},
	"httpd":                     {"apache2.service", "/usr/bin/logger", 0, 602, false},
	"apache2":                   {"apache2.service", "/usr/sbin/apache2", 33, 605, false},
	"caddy":                     {"caddy.service", "/usr/bin/caddy", 999, 603, true},
	"traefik":                   {"traefik.service", "/usr/local/bin/traefik", 998, 604, true},
	"asterisk":                  {"asterisk.service", "/usr/sbin/asterisk", 110, 800, false},
	"pvedaemon":                 {"pvedaemon.service", "", 0, 700, false},
}

const (
	begin  = 1_795_305_600_000_000 // 2026-11-22 00:00:00 UTC, microseconds
	maxLog = 500_000               // entries of a story
)

// story is a file of testdata.
type story struct {
	why         string
	never, must []netip.Addr
	on          []string // jails that are off by default
	entries     []filter.Entry
}

type block struct {
	at, every time.Duration
	times     int
	set       [][2]string
	lines     []line
	number    int // in the file
}

type line struct {
	after      time.Duration
	identifier string
	text       string
}

func parse(path string) (*story, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	s := &story{}
	var blocks []*block
	sc := bufio.NewScanner(file)
	for n := 1; sc.Scan(); n++ {
		if err := s.read(sc.Text(), &blocks); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	for i, b := range blocks {
		b.number = i
		if err := s.play(b); err != nil {
			return nil, fmt.Errorf("%s: block %d: %w", path, i+1, err)
		}
	}
	slices.SortStableFunc(s.entries, func(a, b filter.Entry) int { return int(a.Realtime - b.Realtime) })
	return s, sc.Err()
}

func (s *story) read(text string, blocks *[]*block) error {
	switch key, rest, _ := strings.Cut(text, " "); {
	case text == "":
	case strings.HasPrefix(text, "#"):
		s.why += strings.TrimPrefix(text, "#")
	case key == "never":
		return addresses(rest, &s.never)
	case key == "must":
		return addresses(rest, &s.must)
	case key == "on":
		s.on = append(s.on, rest)
	case key == "at":
		b, err := header(rest)
		*blocks = append(*blocks, b)
		return err
	case text[0] == '\t' && len(*blocks) > 0:
		l, err := logged(text[1:])
		b := (*blocks)[len(*blocks)-1]
		b.lines = append(b.lines, l)
		return err
	default:
		return fmt.Errorf("not a comment, never, must, on, at, or a line of a block that begins with a tab: %q", text)
	}
	return nil
}

// span is {1..60}, or {0..f:x} in hexadecimal.
var span = regexp.MustCompile(`\{(\w+)\.\.(\w+)(:x)?\}`)

func addresses(text string, to *[]netip.Addr) error {
	for _, f := range strings.Fields(text) {
		m := span.FindStringSubmatch(f)
		if m == nil {
			m = []string{"", "0", "0", ""}
		}
		base, verb := 10, "%d"
		if m[3] != "" {
			base, verb = 16, "%x"
		}
		low, err := strconv.ParseUint(m[1], base, 32)
		if err != nil {
			return err
		}
		high, err := strconv.ParseUint(m[2], base, 32)
		if err != nil {
			return err
		}
		for n := low; n <= high; n++ {
			a, err := netip.ParseAddr(span.ReplaceAllString(f, fmt.Sprintf(verb, n)))
			if err != nil {
				return err
			}
			*to = append(*to, a)
		}
	}
	return nil
}

// header reads "0s every 45s times 12 user=anna,ben".
func header(text string) (*block, error) {
	b := &block{times: 1}
	fields := strings.Fields("at " + text)
	for i := 0; i < len(fields); i++ {
		if name, value, ok := strings.Cut(fields[i], "="); ok {
			b.set = append(b.set, [2]string{name, value})
			continue
		}
		if i++; i == len(fields) {
			return b, fmt.Errorf("%s has no value", fields[i-1])
		}
		var err error
		switch fields[i-1] {
		case "at":
			b.at, err = time.ParseDuration(fields[i])
		case "every":
			b.every, err = time.ParseDuration(fields[i])
		case "times":
			b.times, err = strconv.Atoi(fields[i])
		default:
			err = fmt.Errorf("expected every, times or name=value, not %q", fields[i-1])
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// logged reads "+2s sshd-session: Accepted …".
func logged(text string) (l line, err error) {
	l.after = 100 * time.Millisecond
	if strings.HasPrefix(text, "+") {
		after, rest, _ := strings.Cut(text[1:], " ")
		if l.after, err = time.ParseDuration(after); err != nil {
			return l, err
		}
		text = rest
	}
	l.identifier, l.text, _ = strings.Cut(text, ": ")
	if _, ok := programs[l.identifier]; !ok {
		return l, fmt.Errorf("no program %q", l.identifier)
	}
	return l, nil
}

var variable = regexp.MustCompile(`\{(\w+)(?:\+(\d+))?(:x)?\}`)

func (s *story) play(b *block) error {
	for n := range b.times {
		pid := uint32(2000 + 10_000*b.number%3_000_000 + n)
		values := map[string]string{"port": strconv.Itoa(32768 + (7919*n+104729*b.number)%28000), "pid": strconv.Itoa(int(pid))}
		var bad error
		expand := func(text string) string {
			return variable.ReplaceAllStringFunc(text, func(v string) string {
				m := variable.FindStringSubmatch(v)
				if m[1] == "n" {
					more, _ := strconv.Atoi(m[2])
					if m[3] != "" {
						return strconv.FormatInt(int64(n+more), 16)
					}
					return strconv.Itoa(n + more)
				}
				value, ok := values[m[1]]
				if !ok {
					bad = fmt.Errorf("nothing sets %s", v)
				}
				return value
			})
		}
		for _, kv := range b.set {
			list := strings.Split(kv[1], ",")
			values[kv[0]] = expand(list[n%len(list)])
		}
		at := b.at + time.Duration(n)*b.every
		for i, l := range b.lines {
			if i > 0 || l.after != 100*time.Millisecond {
				at += l.after
			}
			p := programs[l.identifier]
			e := filter.Entry{
				Message: []byte(expand(l.text)), Unit: []byte(p.unit), Slice: []byte("system.slice"), Exe: []byte(p.exe), Identifier: []byte(l.identifier),
				WholeMessage: !p.stream, UID: p.uid, PID: p.pid, Boot: [16]byte{1}, Realtime: begin + at.Microseconds(),
			}
			if e.PID == 0 {
				e.PID = pid
			}
			s.entries = append(s.entries, e)
		}
		if bad != nil {
			return bad
		}
		if len(s.entries) > maxLog {
			return fmt.Errorf("more than %d entries", maxLog)
		}
	}
	return nil
}

// TestStories plays every story.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.story")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 120 {
		t.Errorf("only %d stories were found", len(files))
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".story"), func(t *testing.T) {
			t.Parallel()
			s, err := parse(path)
			if err != nil {
				t.Fatal(err)
			}
			s.test(t)
		})
	}
}

func (s *story) test(t *testing.T) {
	if s.why == "" || len(s.never)+len(s.must) == 0 {
		t.Fatal("a story says why in comments, and never or must of whom")
	}
	c := config.Default()
	for _, name := range s.on {
		i := slices.IndexFunc(c.Jails, func(j config.Jail) bool { return j.Name == name })
		if i < 0 {
			t.Fatalf("there is no jail %s", name)
		}
		c.Jails[i].Enabled = true
	}
	g, err := policy.New(c, state.New())
	if err != nil {
		t.Fatal(err)
	}
	var bans []policy.Ban
	hits := 0
	for i := range s.entries {
		e := &s.entries[i]
		o := g.Entry(e, jail.Ref(i+1))
		hits += o.Hits
		bans = append(bans, o.Bans...)
	}
	bans = append(bans, g.Finish().Bans...)
	for _, b := range bans {
		for _, a := range s.never {
			if b.Prefix.Contains(a) {
				t.Errorf("%s is banned as %s by %s (%s, %d failures) after %s; they are harmless:%s", a, b.Prefix, b.Jail, b.Reason, b.Failures, time.Duration(b.Since-begin)*time.Microsecond, s.why)
			}
		}
	}
	var spared []netip.Addr
	for _, a := range s.must {
		if !slices.ContainsFunc(bans, func(b policy.Ban) bool { return b.Prefix.Contains(a) }) {
			spared = append(spared, a)
		}
	}
	if len(spared) > 0 {
		t.Errorf("%d of %d attackers are not banned, %s first:%s", len(spared), len(s.must), spared[0], s.why)
	}
	if s.known(t) == 0 {
		t.Error("no filter knows any of the story's lines in any mode, so it tests nothing")
	}
	t.Logf("%d entries, %d of them known, %d bans", len(s.entries), hits, len(bans))
}

// known counts the entries that a built-in filter recognizes in its last mode, which is its widest.
func (s *story) known(t *testing.T) (n int) {
	t.Helper()
	var widest []*filter.Matcher
	for _, name := range filter.Builtin() {
		f, err := filter.LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		mode := ""
		if len(f.Modes) > 0 {
			mode = f.Modes[len(f.Modes)-1]
		}
		m, err := f.Mode(mode)
		if err != nil {
			t.Fatal(err)
		}
		widest = append(widest, m)
	}
	var h filter.Hit
	for i := range s.entries[:min(100, len(s.entries))] {
		if slices.ContainsFunc(widest, func(m *filter.Matcher) bool { return m.Match(&s.entries[i], &h) }) {
			n++
		}
	}
	return n
}
