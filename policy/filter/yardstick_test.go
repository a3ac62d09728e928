package filter

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shared returns the folder of captures and sample lines that stands beside the checkout, and skips without it.
func shared(t *testing.T, elem ...string) string {
	t.Helper()
	dir := os.Getenv("BAILIFF_SHARED")
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for d := wd; d != filepath.Dir(d) && dir == ""; d = filepath.Dir(d) {
			if s := filepath.Join(filepath.Dir(d), "shared"); isDir(s) {
				dir = s
			}
		}
	}
	p := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(p); dir == "" || err != nil {
		t.Skipf("%s is not there: the sample lines of others are no part of the project", filepath.Join(append([]string{"shared"}, elem...)...))
	}
	return p
}

func isDir(p string) bool {
	i, err := os.Stat(p)
	return err == nil && i.IsDir()
}

// sampleLine is one of fail2ban's own sample lines.
type sampleLine struct {
	Mode     string `json:"mode_or_options"`
	Session  string
	Index    int
	PID      uint32
	Message  string
	Match    bool
	Host     string
	User     string
	Attempts int
	Form     string `json:"journal_form"`
}

// difference is a sample where we are of another opinion than fail2ban.
type difference struct {
	lines []int // by index
	why   string
	// right: fail2ban's answer would be wrong (a host name is no evidence, an attacker's text is no address), so the line is
	// left out of the share of agreement
	right bool
}

// yardstick compares a filter with fail2ban's sample lines, mode for mode, and demands that they agree on 99 % of the
// lines that the journal would hold, and that every other line is in the table.
//
// fail2ban's tests want exactly one failure at a line. We agree if a line they want is a failure here, of the address and
// user that they name, and if a line they do not want counts for nothing once the lines of one attempt are joined, or
// counts what they count at a later line of the connection: what sshd tells in three lines may be three failures of one
// attempt here.
func yardstick(t *testing.T, corpus, filter string, mode func(string) string, table []difference) {
	file, err := os.Open(shared(t, "corpus", "fail2ban", corpus+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := LoadBuiltin(filter)
	if err != nil {
		t.Fatal(err)
	}
	type conn struct {
		addr    netip.Addr
		step    uint8
		counted bool
		waiting bool         // a failure whose address is not known yet
		early   []sampleLine // attempts counted here at a line where fail2ban still waits for what comes
	}
	conns := make(map[string]*conn)
	used := make([]int, len(table))
	total, agreed, right := 0, 0, 0
	explain := func(why string, l *sampleLine) {
		for i, d := range table {
			if slices.Contains(d.lines, l.Index) {
				used[i]++
				if d.right {
					right++
				}
				return
			}
		}
		t.Errorf("%s #%d: %s: %q", l.Session, l.Index, why, l.Message)
	}
	sc := bufio.NewScanner(file)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var l sampleLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Form != "exact" {
			continue
		}
		m, err := f.Mode(mode(l.Mode))
		if err != nil {
			t.Fatal(err)
		}
		var h Hit
		hit := m.MatchMessage([]byte(l.Message), &h)
		key := l.Session + "/" + string(h.ID) + "/" + string(rune(l.PID))
		c := conns[key]
		if c == nil {
			c = &conn{}
			conns[key] = c
		}
		// What the counting side does with it, as far as it can be seen in one line.
		failure, counts := hit && h.Kind == Failure, false
		if h.Addr.IsValid() {
			if failure || c.waiting {
				failure, counts = true, c.waiting
			}
			if c.addr != h.Addr {
				*c = conn{addr: h.Addr, early: c.early}
			}
			c.waiting = false
		}
		if hit && h.Kind == Failure {
			switch s := h.Pattern.Step; {
			case !c.addr.IsValid():
				failure, c.waiting = false, true
			case s == StepEnd:
				counts = counts || !c.counted
			case s <= c.step || c.step == 0:
				counts, c.step = true, s
			default:
				c.step = s
			}
			c.counted = c.counted || counts
		}
		if l.Match {
			told := max(1, l.Attempts)
			if counts {
				told--
			}
			settled := min(told, len(c.early))
			agreed += settled
			c.early = c.early[settled:]
		} else if counts {
			total++
			c.early = append(c.early, l)
			continue
		}
		why := ""
		switch {
		case l.Match && !failure:
			why = "wanted, not found"
		case l.Match && l.Host != "":
			if want, err := netip.ParseAddr(plain(l.Host)); err != nil || want.Unmap() != c.addr {
				why = "wanted " + l.Host + ", found " + c.addr.String() + " by " + h.Pattern.Name
			}
		}
		if why == "" && l.Match && l.User != "" && string(h.User) != l.User {
			why = "wanted user " + l.User + ", found " + string(h.User)
		}
		total++
		if why == "" {
			agreed++
			continue
		}
		explain(why, &l)
	}
	for _, c := range conns {
		for i := range c.early {
			explain("counted, but not by fail2ban, nor later", &c.early[i])
		}
	}
	for i, d := range table {
		if used[i] != len(d.lines) {
			t.Errorf("of the lines %v only %d differ (%s)", d.lines, used[i], d.why)
		}
		t.Logf("lines %v: %s", d.lines, d.why)
	}
	share := 100 * float64(agreed) / float64(max(total-right, 1))
	t.Logf("%s: agreed on %d of %d lines; right to differ on %d; %.2f %% of the others", filter, agreed, total, right, share)
	if share < 99 {
		t.Errorf("agreed on %.2f %% of the lines, wanted 99", share)
	}
}

// plain takes leading zeros out of an IPv4 address (192.030.0.6).
func plain(host string) string {
	i := strings.LastIndexByte(host, ':') + 1
	parts := strings.Split(host[i:], ".")
	if len(parts) != 4 {
		return host
	}
	for i, p := range parts {
		if p = strings.TrimLeft(p, "0"); p == "" {
			p = "0"
		}
		parts[i] = p
	}
	return host[:i] + strings.Join(parts, ".")
}

// modeOf reads "logtype=journal,mode=ddos".
func modeOf(options string) string {
	for _, o := range strings.Split(options, ",") {
		if m, ok := strings.CutPrefix(o, "mode="); ok {
			return m
		}
	}
	return ""
}

func TestYardstickSshd(t *testing.T) {
	yardstick(t, "sshd", "sshd", modeOf, []difference{
		{[]int{44, 45, 289, 290, 315, 316, 363, 364}, "a host name is no evidence: the attacker's DNS says it. The address is in other lines of the connection", true},
		{[]int{110, 111}, "sshd writes this line when the client behind the last address gives a user name that ends like a message of sshd; the first address is the attacker's choice", true},
		{[]int{178, 461}, "a login that went well is no failure, whatever was tried before it on the connection (which counts)", true},
		{[]int{451}, "a PAM module's failure counts at once; fail2ban's normal mode waits for another line of the connection, and none follows here", false},
	})
}

func TestYardstickPostfix(t *testing.T) { yardstick(t, "postfix", "postfix", modeOf, nil) }

func TestYardstickDovecot(t *testing.T) { yardstick(t, "dovecot", "dovecot", modeOf, nil) }

func TestYardstickSendmailAuth(t *testing.T) {
	yardstick(t, "sendmail-auth", "sendmail-auth", modeOf, nil)
}

func TestYardstickSendmailReject(t *testing.T) {
	yardstick(t, "sendmail-reject", "sendmail-reject", modeOf, nil)
}

func TestYardstickPamGeneric(t *testing.T) {
	yardstick(t, "pam-generic", "pam-generic", modeOf, []difference{
		{[]int{1, 2, 5, 6}, "a host name is no evidence: the attacker's DNS says it", true},
	})
}

func TestYardstickExim(t *testing.T) { yardstick(t, "exim", "exim", modeOf, nil) }
