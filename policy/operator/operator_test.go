package operator

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/filter"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/bash\nbob:x:1001:1001::/home/bob:/bin/bash\n" +
		"carol:x:1002:10::/home/carol:/bin/bash\nbroken\nbad:x:minus:1::/:/bin/sh\n+nis:::::: \nbob:x:0:0:a second bob:/:/bin/sh\n"
	group = "root:x:0:\nsudo:x:27:alice, dave\nwheel:x:10:\nadm:x:4:bob\n#sudo:x:27:bob\n+:::\nshort:x\n"
)

var accounts = ReadAccounts([]byte(passwd), []byte(group), []string{"sudo", "wheel"})

func TestAccounts(t *testing.T) {
	for _, tt := range []struct {
		user string
		uid  int64
		want string
	}{
		{"root", 0, "root"},
		{"root", -1, "root"},
		{"toor", -1, "root"},
		{"whoever", 0, "root"}, // logind vouches for the number
		{"root", 1001, ""},     // a name does not count where the uid is known
		{"alice", 1000, "group sudo"},
		{"alice", -1, "group sudo"},
		{"dave", -1, "group sudo"}, // of LDAP, named in /etc/group
		{"carol", 1002, "group wheel"},
		{"bob", 1001, ""}, // adm only; the second line of that name does not count
		{"bob", -1, ""},
		{"mallory", -1, ""},
		{"", -1, ""},
		{"bad", -1, ""},
		{"+nis", -1, ""},
	} {
		if why, ok := accounts.Member(tt.user, tt.uid); why != tt.want || ok != (tt.want != "") {
			t.Errorf("%s (%d): %q, %v; want %q", tt.user, tt.uid, why, ok, tt.want)
		}
	}
	if why, ok := ReadAccounts(nil, nil, nil).Member("root", -1); !ok || why != "root" {
		t.Errorf("root without any file: %q, %v", why, ok)
	}
}

const minute = int64(time.Minute / time.Microsecond)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixMicro()

type bench struct {
	*testing.T
	*Tracker
}

func newBench(t *testing.T) bench {
	t.Helper()
	f, err := filter.LoadBuiltin("sshd")
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	return bench{t, New(m, Options{Grace: 10 * time.Minute, Member: accounts.Member})}
}

// moved reports whether a step changes the allowed addresses, and fetches them.
func (b bench) moved(step func()) bool {
	step()
	stale := b.Stale()
	b.Entries()
	return stale
}

func line(at int64, pid uint32, format string, args ...any) *filter.Entry {
	return &filter.Entry{Message: fmt.Appendf(nil, format, args...), Unit: []byte("ssh.service"), Identifier: []byte("sshd"), UID: 0, PID: pid, Boot: [16]byte{1}, Realtime: at}
}

func login(at int64, pid uint32, user, from string) *filter.Entry {
	return line(at, pid, "Accepted publickey for %s from %s port 40112 ssh2: ED25519 SHA256:Zm9v", user, from)
}

func logout(at int64, pid uint32, user string) *filter.Entry {
	return line(at, pid, "pam_unix(sshd:session): session closed for user %s", user)
}

// want compares what is allowed at a moment with addresses.
func (b bench) want(at int64, addrs ...string) {
	b.Helper()
	var got []string
	l := allow.NewList(b.Entries())
	for _, e := range l.Entries() {
		if _, ok := l.Contains(e.Prefix.Addr(), at); ok {
			got = append(got, e.Prefix.Addr().String())
		}
		if e.Origin != Origin || !strings.HasPrefix(e.Comment, "ssh session of ") {
			b.Errorf("entry %+v", e)
		}
	}
	slices.Sort(got)
	slices.Sort(addrs)
	if !slices.Equal(got, addrs) {
		b.Errorf("at +%s allowed are %q, want %q", time.Duration(at-start)*time.Microsecond, got, addrs)
	}
}

func TestJournal(t *testing.T) {
	b := newBench(t)
	if b.moved(func() { b.Entry(login(start, 100, "bob", "198.51.100.1")) }) {
		t.Error("an ordinary user's login changes the list")
	}
	b.want(start)
	if !b.moved(func() { b.Entry(login(start, 101, "root", "198.51.100.2")) }) || !b.moved(func() { b.Entry(login(start, 102, "alice", "2001:db8::2")) }) {
		t.Error("an operator's login changes nothing")
	}
	b.want(start, "198.51.100.2", "2001:db8::2")
	if b.moved(func() { b.Entry(login(start, 103, "root", "198.51.100.2")) }) {
		t.Error("a second session of one address changes the list")
	}
	if b.moved(func() { b.Entry(logout(start+minute, 101, "root")) }) {
		t.Error("the first of two sessions to end changes the list")
	}
	if !b.moved(func() { b.Entry(logout(start+2*minute, 103, "root")) }) {
		t.Error("the end of the last session changes nothing")
	}
	b.want(start+12*minute-1, "198.51.100.2", "2001:db8::2")
	b.want(start+12*minute, "2001:db8::2") // grace is over by the entry's own end, whether Expire was called or not
	if !b.moved(func() { b.Expire(start + 12*minute) }) {
		t.Error("the end of the grace changes nothing")
	}
	if n := len(b.Entries()); n != 1 {
		t.Errorf("%d entries", n)
	}
	if e := b.Entries()[0]; e.Comment != "ssh session of alice (group sudo) since 2026-11-22T12:00:00Z, pid 102" || !e.Until.IsZero() {
		t.Errorf("%+v", e)
	}
	// An address that comes back within the grace is allowed without an end again.
	b.moved(func() { b.Entry(logout(start+20*minute, 102, "alice")) })
	if !b.moved(func() { b.Entry(login(start+21*minute, 110, "alice", "2001:db8::2")) }) {
		t.Error("coming back changes nothing")
	}
	b.want(start+60*minute, "2001:db8::2")
}

// Only sshd's own entries count, and only for accounts that exist.
func TestForged(t *testing.T) {
	b := newBench(t)
	good := login(start, 100, "root", "198.51.100.2")
	for name, change := range map[string]func(e *filter.Entry){
		"a user's process in sshd's unit": func(e *filter.Entry) { e.UID = 1001 },
		"another unit":                    func(e *filter.Entry) { e.Unit = []byte("mallory.service") },
		"no unit, a user":                 func(e *filter.Entry) { e.Unit, e.UID = nil, 1001 },
		"no unit, another name":           func(e *filter.Entry) { e.Unit, e.Identifier = nil, []byte("su") },
		"no process":                      func(e *filter.Entry) { e.PID = 0 },
		"no address": func(e *filter.Entry) {
			e.Message = []byte("Accepted password for root from victim.example.org port 22 ssh2")
		},
		"a failure": func(e *filter.Entry) { e.Message = []byte("Failed password for root from 198.51.100.2 port 22 ssh2") },
		"a user name that tells a story": func(e *filter.Entry) {
			e.Message = []byte("Failed password for invalid user Accepted password for root from 198.51.100.2 port 22 ssh2 from 203.0.113.1 port 22 ssh2")
		},
		"an unknown account": func(e *filter.Entry) {
			e.Message = []byte("Accepted password for mallory from 198.51.100.2 port 22 ssh2")
		},
		"root in a longer name": func(e *filter.Entry) {
			e.Message = []byte("Accepted password for root from 198.51.100.2 port 22 ssh2 from 203.0.113.1 port 22 ssh2")
		},
	} {
		e := *good
		change(&e)
		if b.moved(func() { b.Entry(&e) }) || len(b.Entries()) != 0 {
			t.Errorf("%s: %+v", name, b.Entries())
		}
	}
	b.moved(func() { b.Entry(good) })
	for name, change := range map[string]func(e *filter.Entry){
		"another process": func(e *filter.Entry) { e.PID = 101 },
		"a user":          func(e *filter.Entry) { e.UID = 1001 },
		"another boot":    func(e *filter.Entry) { e.Boot = [16]byte{} },
	} {
		e := logout(start+minute, 100, "root")
		b.boots[e.Boot], b.boots[[16]byte{}] = true, true // neither is new
		change(e)
		if b.moved(func() { b.Entry(e) }) {
			t.Errorf("%s ended a session", name)
		}
	}
	b.want(start+60*minute, "198.51.100.2")
}

func session(pid uint32, user string, uid int64, from string) Session {
	s := Session{PID: pid, User: user, UID: uid, TTY: "pts/0", Since: start}
	if from != "" {
		s.Addr = netip.MustParseAddr(from)
	}
	return s
}

func TestLogind(t *testing.T) {
	b := newBench(t)
	open := []Session{session(1, "root", 0, "198.51.100.2"), session(2, "bob", 1001, "198.51.100.3"), session(3, "carol", 1002, "2001:db8::3")}
	if !b.moved(func() { b.Logind(open, start) }) || b.moved(func() { b.Logind(open, start+minute) }) || !b.Open() {
		t.Error("the same list twice")
	}
	b.want(start+600*minute, "198.51.100.2", "2001:db8::3")
	if s := b.Sessions()[0].String(); s != "ssh session of root (root) since 2026-11-22T12:00:00Z, pid 1, pts/0" {
		t.Errorf("%q", s)
	}
	if !b.moved(func() { b.Logind(open[2:], start+minute) }) {
		t.Error("the end of a session changes nothing")
	}
	b.want(start+11*minute-1, "198.51.100.2", "2001:db8::3")
	b.want(start+11*minute, "2001:db8::3")
	b.Logind(nil, start+20*minute)
	b.Expire(start + 30*minute)
	b.want(start + 30*minute)
	if b.Open() || len(b.Entries()) != 0 {
		t.Errorf("%+v", b.Entries())
	}
}

// logind and the journal complement each other about a session, and if logind ends it, it ends for both.
func TestBoth(t *testing.T) {
	b := newBench(t)
	b.moved(func() { b.Entry(login(start, 7, "root", "198.51.100.2")) })
	if b.moved(func() { b.Logind([]Session{session(7, "root", 0, "")}, start) }) { // UseDNS: logind has a name instead of an address
		t.Error("logind's word on a session known from the journal changes the list")
	}
	b.want(start+minute, "198.51.100.2")
	if l := b.Sessions(); len(l) != 1 || l[0].TTY != "pts/0" || l[0].UID != 0 {
		t.Errorf("%+v", l)
	}
	b.Logind([]Session{session(7, "root", 0, "198.51.100.2")}, start+minute)
	if l := b.Sessions(); len(l) != 1 {
		t.Errorf("one session stands there as %+v", l)
	}
	// An older list, taken before a session began, does not end it.
	b.Entry(login(start+2*minute, 8, "alice", "203.0.113.8"))
	b.Logind([]Session{session(7, "root", 0, "198.51.100.2")}, start+2*minute+1)
	b.want(start+600*minute, "198.51.100.2", "203.0.113.8")
	// The journal lost the end of a session.
	b.Logind(nil, start+3*minute)
	b.want(start+13*minute-1, "198.51.100.2", "203.0.113.8")
	b.want(start+13*minute, "203.0.113.8")
	// Without logind, a session whose end is never logged is over after a day.
	if !b.moved(func() { b.Expire(start + 2*minute + 24*60*minute) }) {
		t.Error("a day changes nothing")
	}
	b.want(start+2*minute+24*60*minute, "203.0.113.8") // grace
	b.want(start + 2*minute + 24*60*minute + 10*minute)
}

func TestReboot(t *testing.T) {
	b := newBench(t)
	b.Entry(login(start, 7, "root", "198.51.100.2"))
	e := login(start+minute, 7, "alice", "198.51.100.3")
	e.Boot = [16]byte{2}
	b.Entry(e)
	b.want(start+2*minute, "198.51.100.2", "198.51.100.3")
	b.want(start+11*minute, "198.51.100.3")
	// Any entry of sshd shows the next boot, but only sshd's.
	e = line(start+20*minute, 8, "Server listening on 0.0.0.0 port 22.")
	e.Boot = [16]byte{3}
	forged := *e
	forged.UID = 1001
	b.Entry(&forged)
	b.want(start+40*minute, "198.51.100.3")
	b.Entry(e)
	b.want(start+29*minute, "198.51.100.3")
	b.want(start + 30*minute)
}

func TestConfigure(t *testing.T) {
	b := newBench(t)
	b.Entry(login(start, 7, "alice", "198.51.100.2"))
	b.Logind([]Session{session(8, "carol", 1002, "198.51.100.3")}, start)
	less := ReadAccounts([]byte(passwd), []byte(group), []string{"wheel"})
	if !b.moved(func() { b.Configure(Options{Grace: time.Minute, Member: less.Member}, start) }) {
		t.Error("nothing changed")
	}
	b.want(start, "198.51.100.3")
}

// Due is true as soon as the allowed addresses differ from those last returned by Entries, and not before.
func TestDue(t *testing.T) {
	b := newBench(t)
	step := func(what string, at int64, want bool) {
		t.Helper()
		due := b.Due(at)
		if due != want {
			t.Errorf("%s: due is %v", what, due)
		}
		if due {
			b.Entries()
		}
	}
	step("nothing", start, false)
	b.Entry(login(start, 1, "root", "198.51.100.2"))
	step("a login", start, true)
	step("which was told", start, false)
	b.Entry(login(start, 2, "root", "198.51.100.2"))
	b.Entry(logout(start, 2, "root"))
	step("a second login, and its end", start, false)
	b.Entry(logout(start, 1, "root"))
	step("the end of the first", start, false)
	if !b.Stale() {
		t.Error("there is nothing to be told")
	}
	step("the last moment of the grace", start+10*minute-1, false)
	step("the end of the grace, which was not told", start+10*minute, true)
	b.Entry(login(start+20*minute, 3, "root", "198.51.100.2"))
	b.Entry(logout(start+21*minute, 3, "root"))
	b.Entries()
	b.Entry(login(start+22*minute, 4, "root", "198.51.100.2"))
	step("coming back", start+22*minute, false)
	step("when the grace that was told is over", start+31*minute, true)
	b.Configure(Options{Member: accounts.Member}, start+32*minute)
	b.Entry(logout(start+33*minute, 4, "root"))
	step("an end without grace", start+33*minute, true)
}

// However many sessions there are, the list stays short, and the newest are in it.
func TestBounds(t *testing.T) {
	b := newBench(t)
	addr := func(i int) string { return fmt.Sprintf("198.18.%d.%d", i>>8, i&255) }
	for i := range 3 * maxOpen {
		b.Entry(login(start+int64(i), uint32(1000+i), "root", addr(i)))
	}
	if n := len(b.Sessions()); n != maxOpen {
		t.Errorf("%d open", n)
	}
	if n := len(b.Entries()); n > maxOpen+maxEnded {
		t.Errorf("%d entries", n)
	}
	if s := b.Sessions()[maxOpen-1]; s.Addr.String() != addr(3*maxOpen-1) {
		t.Errorf("the newest is %v", s)
	}
}

func BenchmarkEntryOther(b *testing.B) {
	f, _ := filter.LoadBuiltin("sshd")
	m, _ := f.Mode("")
	tr := New(m, Options{Member: accounts.Member})
	e := line(start, 1, "Failed password for root from 198.51.100.2 port 22 ssh2")
	for b.Loop() {
		tr.Entry(e)
	}
}

// Whatever the files contain, no account becomes an operator that they do not name.
func FuzzAccounts(f *testing.F) {
	f.Add([]byte(passwd), []byte(group), "alice")
	f.Add([]byte("a:x:0:0:::\n"), []byte("sudo:x:27:,,a , b\r\n"), "b")
	f.Fuzz(func(t *testing.T, passwd, group []byte, user string) {
		why, ok := ReadAccounts(passwd, group, []string{"sudo", "wheel"}).Member(user, -1)
		if ok != (why != "") {
			t.Fatalf("%q, %v", why, ok)
		}
		if ok && user != "root" && !bytes.Contains(passwd, []byte(user)) && !bytes.Contains(group, []byte(user)) {
			t.Fatalf("%q is an operator (%s)", user, why)
		}
	})
}
