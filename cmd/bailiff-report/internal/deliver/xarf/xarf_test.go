package xarf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/cmd/bailiff-report/internal/deliver/sendmail"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// program is a sendmail that keeps each mail with its arguments in a folder; a file "fail" there is its exit status.
const program = `#!/bin/sh
cd "$(dirname "$0")" || exit 71
[ -e fail ] && { echo "told to fail"; exit "$(cat fail)"; }
n=$(ls | grep -c mail)
{ for a; do printf '%s\n' "$a"; done; } >"args$n"
cat >"mail$n"
`

// outbox is where a test's mails go.
type outbox struct {
	t      *testing.T
	folder string
}

type sent struct {
	args []string
	mail *mail.Message
	body []byte
}

func newOutbox(t *testing.T) *outbox {
	o := &outbox{t, t.TempDir()}
	if err := os.WriteFile(filepath.Join(o.folder, "sendmail"), []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

// fail makes the program exit with a status, "" with success.
func (o *outbox) fail(status string) {
	o.t.Helper()
	path := filepath.Join(o.folder, "fail")
	err := os.Remove(path)
	if status != "" {
		err = os.WriteFile(path, []byte(status), 0o600)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// all returns the mails so far.
func (o *outbox) all() (l []sent) {
	o.t.Helper()
	for n := 0; ; n++ {
		data, err := os.ReadFile(filepath.Join(o.folder, fmt.Sprintf("mail%d", n+1)))
		if errors.Is(err, os.ErrNotExist) {
			return l
		}
		args, err2 := os.ReadFile(filepath.Join(o.folder, fmt.Sprintf("args%d", n+1)))
		m, err3 := mail.ReadMessage(bytes.NewReader(data))
		if err := errors.Join(err, err2, err3); err != nil {
			o.t.Fatal(err)
		}
		body := new(bytes.Buffer)
		if _, err := body.ReadFrom(m.Body); err != nil {
			o.t.Fatal(err)
		}
		l = append(l, sent{strings.Fields(string(args)), m, body.Bytes()})
	}
}

func conf() *config.Destination {
	return &config.Destination{Name: "complaints", Type: config.TypeXARF, Org: "Example Org", Contact: "noc@example.org", Format: "4", Lines: 100, PerContact: 2, RetryFor: time.Hour, TimeLimit: time.Minute}
}

func environment(t *testing.T, o *outbox) deliver.Env {
	env := delivertest.Env(t, "", "")
	env.Config.Sendmail = config.Sendmail{Path: filepath.Join(o.folder, "sendmail"), Args: []string{"-i", "-f", "SENDER", "--"}, TimeLimit: 2 * time.Minute}
	env.Config.Lookup.TimeLimit = time.Second
	return env
}

func open(t *testing.T, d *config.Destination, env deliver.Env) deliver.Destination {
	t.Helper()
	x, err := New(d, env)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// ban is one with contacts from the registries.
func ban(addr string, contacts ...string) *report.Report {
	r := delivertest.Report(addr)
	r.Whois = &report.Whois{Network: netip.PrefixFrom(r.Address, 24).Masked(), Abuse: contacts}
	return r
}

func deliverTo(t *testing.T, x deliver.Destination, item *report.Item) string {
	t.Helper()
	return delivertest.Outcome(x.Deliver(t.Context(), item))
}

func TestDeliver(t *testing.T) {
	for _, format := range []string{"0.2", "4"} {
		o, d := newOutbox(t), conf()
		d.Format = format
		x := open(t, d, environment(t, o))
		item := delivertest.Item(ban("198.51.100.7", "abuse@example.net", "cert@example.com"))
		r, err := x.Deliver(t.Context(), item)
		if err != nil || !strings.HasPrefix(r.Answer, "198.51.100.7 (ssh): to abuse@example.net, cert@example.com: ") {
			t.Errorf("%+v, %v", r, err)
		}
		all := o.all()
		if len(all) != 1 {
			t.Fatalf("%d mails", len(all))
		}
		if want := []string{"-i", "-f", "bailiff@mail.example.org", "--", "abuse@example.net", "cert@example.com"}; !slices.Equal(all[0].args, want) {
			t.Errorf("arguments %q", all[0].args)
		}
		trace := x.(deliver.Traced).Trace(item)
		if h := all[0].mail.Header; h.Get("To") != "abuse@example.net, cert@example.com" || h.Get("Message-ID") != "<"+trace+">" || trace == "" || h.Get("Auto-Submitted") != "auto-generated" || (format == "0.2") != (h.Get("X-XARF") == "PLAIN") {
			t.Errorf("%v, trace %s", h, trace)
		}
		shown, err := x.Render(item)
		if err != nil || !bytes.Contains(shown, []byte("Message-ID: <"+trace+">\r\n")) || len(o.all()) != 1 {
			t.Errorf("%v: shown is\n%s", err, shown)
		}
	}
}

// A digest is one mail for each address. A mail that failed does not cause the others to be sent again, not even after a restart.
func TestDigest(t *testing.T) {
	o, d := newOutbox(t), conf()
	d.PerContact = 10
	env := environment(t, o)
	reachable := false
	env.Lookup = func(_ context.Context, a netip.Addr) *report.Whois {
		if !reachable {
			return &report.Whois{Failed: "rate limit"}
		}
		return &report.Whois{Abuse: []string{"late@example.net"}}
	}
	udp := ban("198.51.100.9", "abuse@example.net")
	udp.Service = "named-refused"
	item := delivertest.Item(ban("198.51.100.7", "abuse@example.net"), ban("198.51.100.7", "abuse@example.net"), ban("203.0.113.8"), ban("2001:db8::1", "six@example.net"), udp)
	x := open(t, d, env)
	_, err := x.Deliver(t.Context(), item)
	var retry *report.Retry
	if !errors.As(err, &retry) || retry.Quota || !retry.Own || err.Error() != "2 of 3 complaints were sent; 203.0.113.8 (ssh): no abuse contact: the registries did not answer: rate limit" {
		t.Errorf("%v", err)
	}
	if n := len(o.all()); n != 2 {
		t.Fatalf("%d mails", n)
	}
	reachable = true
	x = open(t, d, env)
	r, err := x.Deliver(t.Context(), item)
	if err != nil || !strings.Contains(r.Answer, "203.0.113.8 (ssh): to late@example.net") || !strings.Contains(r.Answer, "198.51.100.7 (ssh): already sent") || !strings.Contains(r.Answer, "not sent: 198.51.100.9 (sshd): what this filter sees may be forged") {
		t.Errorf("%+v, %v", r, err)
	}
	all := o.all()
	ids := make(map[string]bool)
	for _, m := range all {
		ids[m.mail.Header.Get("Message-ID")] = true
	}
	if len(all) != 3 || len(ids) != 3 {
		t.Errorf("%d mails with the ids %v", len(all), ids)
	}
	if trace := x.(deliver.Traced).Trace(item); trace != "" {
		t.Errorf("a digest of three leaves the trace %s", trace)
	}
	if shown, err := x.Render(item); err != nil || bytes.Count(shown, []byte("---------- next mail ----------")) != 2 {
		t.Errorf("%v: shown is\n%s", err, shown)
	}
}

// No contact is guessed, and none of our own is used.
func TestContacts(t *testing.T) {
	for name, c := range map[string]struct {
		contacts []string
		lookup   *report.Whois
		to, err  string
	}{
		"none":            {nil, &report.Whois{}, "", "the registries have no abuse contact"},
		"none to ask":     {nil, nil, "", "the registries have no abuse contact"},
		"not available":   {nil, &report.Whois{Failed: "no answer in time"}, "", "the registries did not answer: no answer in time"},
		"asked for":       {nil, &report.Whois{Abuse: []string{"abuse@example.net"}}, "abuse@example.net", ""},
		"failed but DNS":  {nil, &report.Whois{Failed: "x", Abuse: []string{"abuse@example.net"}}, "abuse@example.net", ""},
		"the sender":      {[]string{"Bailiff@Mail.Example.Org"}, nil, "", "the abuse contact Bailiff@Mail.Example.Org is in this host's own domain"},
		"the reporter":    {[]string{"noc@example.org"}, nil, "", "in this host's own domain"},
		"the host":        {[]string{"root@mail.example.org"}, nil, "", "in this host's own domain"},
		"our own domain":  {[]string{"abuse@example.org"}, nil, "", "in this host's own domain"},
		"below it":        {[]string{"abuse@lists.example.org"}, nil, "", "in this host's own domain"},
		"one of two":      {[]string{"abuse@example.org", "abuse@example.net"}, nil, "abuse@example.net", ""},
		"a look-alike":    {[]string{"abuse@notexample.org"}, nil, "abuse@notexample.org", ""},
		"no mail address": {[]string{"abuse@example.net\r\nBcc: x@example.com", "-oQ@example.net", "root"}, nil, "", "no abuse contact"},
	} {
		o := newOutbox(t)
		env := environment(t, o)
		if c.lookup != nil {
			env.Lookup = func(context.Context, netip.Addr) *report.Whois { return c.lookup }
		}
		_, err := open(t, conf(), env).Deliver(t.Context(), delivertest.Item(ban("198.51.100.7", c.contacts...)))
		var refused *report.Refused
		all := o.all()
		switch {
		case c.to == "" && (err == nil || !strings.Contains(err.Error(), c.err) || errors.As(err, &refused) == (name == "not available") || len(all) != 0):
			t.Errorf("%s: %v, %d mails", name, err, len(all))
		case c.to != "" && (err != nil || len(all) != 1 || all[0].args[4] != c.to || len(all[0].args) != 5):
			t.Errorf("%s: %v, %v", name, err, all)
		}
	}
}

// TestUnasked: a complaint waits while a server that may know the contact cannot be asked.
func TestUnasked(t *testing.T) {
	o := newOutbox(t)
	env := environment(t, o)
	w := &report.Whois{Unasked: "whois.example: no answer in time"}
	env.Lookup = func(context.Context, netip.Addr) *report.Whois { return w }
	x, item := open(t, conf(), env), delivertest.Item(ban("198.51.100.7"))
	if s := deliverTo(t, x, item); !strings.HasPrefix(s, "retry 0s: ") || !strings.HasSuffix(s, "the registries did not answer: whois.example: no answer in time") {
		t.Error(s)
	}
	w = &report.Whois{Unasked: w.Unasked, Abuse: []string{"abuse@example.net"}}
	if s := deliverTo(t, x, item); !strings.HasPrefix(s, "ok: ") || len(o.all()) != 1 {
		t.Errorf("%d mails; %s", len(o.all()), s)
	}
}

// A contact gets no more mails in 24 hours than configured, over restarts, however its address is written; the rest waits.
func TestPerContact(t *testing.T) {
	o, d := newOutbox(t), conf()
	env := environment(t, o)
	now := time.Now()
	env.Now = func() time.Time { return now }
	for i, c := range []struct {
		contacts []string
		after    time.Duration
		mails    int
	}{
		{[]string{"abuse@example.net"}, 0, 1},
		{[]string{"Abuse@Example.NET"}, 0, 2},
		{[]string{"abuse@example.net"}, 22 * time.Hour, 2},
		{[]string{"abuse@example.net", "other@example.net"}, 0, 3}, // a contact below its limit gets the mail
		{[]string{"third@example.net"}, 0, 4},
	} {
		item := delivertest.Item(ban("198.51.100.7", c.contacts...))
		item.Key = fmt.Sprintf("item-%d", i)
		_, err := open(t, d, env).Deliver(t.Context(), item)
		var retry *report.Retry
		if errors.As(err, &retry) != (c.after > 0) || c.after > 0 && retry.After.Round(time.Minute) != c.after || len(o.all()) != c.mails {
			t.Errorf("%d: %v, %d mails", i, err, len(o.all()))
		}
		if c.after == 0 && err != nil {
			t.Errorf("%d: %v", i, err)
		}
		now = now.Add(time.Hour)
	}
	now = now.Add(20 * time.Hour)
	item := delivertest.Item(ban("198.51.100.7", "abuse@example.net"))
	item.Key = "item-2"
	if s := deliverTo(t, open(t, d, env), item); len(o.all()) != 5 {
		t.Errorf("a day later: %s", s)
	}
}

func TestMailSystemFails(t *testing.T) {
	o := newOutbox(t)
	x := open(t, conf(), environment(t, o))
	item := delivertest.Item(ban("198.51.100.7", "abuse@example.net"))
	for _, c := range []struct {
		status  string
		refused bool
		all     bool
	}{{"75", false, false}, {"1", false, false}, {"67", true, false}, {"64", true, true}} {
		o.fail(c.status)
		_, err := x.Deliver(t.Context(), item)
		var retry *report.Retry
		var refused *report.Refused
		if errors.As(err, &refused) != c.refused || errors.As(err, &retry) == c.refused || retry != nil && retry.Own || c.refused && refused.All != c.all || !strings.Contains(err.Error(), "told to fail") {
			t.Errorf("status %s: %v", c.status, err)
		}
	}
	o.fail("")
	if s := deliverTo(t, x, item); len(o.all()) != 1 {
		t.Errorf("afterwards: %s", s)
	}
}

// A test sends mail to nobody but its sender.
func TestTest(t *testing.T) {
	o := newOutbox(t)
	item := delivertest.Item(ban("198.51.100.7", "abuse@example.net"))
	item.Test = true
	s := deliverTo(t, open(t, conf(), environment(t, o)), item)
	if all := o.all(); len(all) != 1 || all[0].args[4] != "noc@example.org" || len(all[0].args) != 5 || all[0].mail.Header.Get("X-Bailiff-Test") != "yes" || !bytes.Contains(all[0].body, []byte("This is a test.")) {
		t.Errorf("%s: %v", s, all)
	}
}

// When the time is over, unsent mails wait.
func TestTimeOver(t *testing.T) {
	o := newOutbox(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t, conf(), environment(t, o)).Deliver(ctx, delivertest.Item(ban("198.51.100.7", "a@example.net"), ban("198.51.100.8", "b@example.net")))
	var retry *report.Retry
	if !errors.As(err, &retry) || len(o.all()) != 0 {
		t.Errorf("%v", err)
	}
}

func TestSentLog(t *testing.T) {
	env := environment(t, newOutbox(t))
	b, err := openSentLog(env.State, "x")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	for i := range 100 {
		if err := b.record(fmt.Sprint("key", i), []string{fmt.Sprintf("a%d@example.net", i)}, now, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	// An entry written by a clock that was a year ahead does not count, and is removed.
	b.Contacts["a@example.net"] = []int64{now.Add(365 * day).Unix()}
	if w := b.retryAfter("a@example.net", 1, now); w != 0 {
		t.Errorf("has to wait %v", w)
	}
	if err := b.record("last", []string{"A@example.net"}, now, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	again, err := openSentLog(env.State, "x")
	if err != nil || len(again.Sent) != 25 || len(again.Contacts) != 24 || len(again.Contacts["a@example.net"]) != 1 || !again.has("last") || again.has("key0") {
		data, _ := json.Marshal(again)
		t.Errorf("%v: %d complaints and %d contacts are kept: %s", err, len(again.Sent), len(again.Contacts), data)
	}
	if files, _ := os.ReadDir(env.State); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if err := os.WriteFile(b.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := conf()
	d.Name = "x"
	if _, err := New(d, env); err == nil || !strings.Contains(err.Error(), b.path) || !strings.Contains(err.Error(), "remove it") {
		t.Error(err)
	}
}

// TestReloaded: a reload makes a new destination while the previous one may still be sending. What that one has sent counts nevertheless.
func TestReloaded(t *testing.T) {
	o, d := newOutbox(t), conf()
	env := environment(t, o)
	was, now := open(t, d, env), open(t, d, env)
	first := delivertest.Item(ban("198.51.100.7", "abuse@example.net"))
	for i, x := range []deliver.Destination{was, now} {
		if got := deliverTo(t, x, first); !strings.HasPrefix(got, "ok: ") || strings.Contains(got, "already sent") != (i > 0) {
			t.Errorf("%d: %s", i, got)
		}
	}
	for i, x := range []deliver.Destination{was, now} {
		item := delivertest.Item(ban(fmt.Sprintf("198.51.100.%d", 8+i), "abuse@example.net"))
		item.Key = fmt.Sprint("later", i)
		got := deliverTo(t, x, item)
		if (i == 0) != strings.HasPrefix(got, "ok: ") || (i == 1) != strings.Contains(got, "the abuse contact got 2 mails in 24 hours") {
			t.Errorf("%d: %s", i, got)
		}
	}
	if n := len(o.all()); n != d.PerContact {
		t.Errorf("%d mails", n)
	}
	path := filepath.Join(env.State, "xarf-complaints.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := deliverTo(t, now, first); !strings.HasPrefix(got, "held: "+path) {
		t.Error(got)
	}
}

// filling is a mail system after whose next mail the disk is full.
type filling struct {
	mailer
	full func()
}

func (f *filling) Send(ctx context.Context, to []string, msg []byte) (report.Receipt, error) {
	r, err := f.mailer.Send(ctx, to, msg)
	if f.full != nil {
		f.full()
		f.full = nil
	}
	return r, err
}

// TestDiskFull: nothing is sent that cannot be recorded, and a complaint that was sent just before the disk was full counts.
func TestDiskFull(t *testing.T) {
	o, d := newOutbox(t), conf()
	env := environment(t, o)
	blocked := filepath.Join(env.State, "xarf-complaints.json.new") // no replacement can be written while this is a folder
	full := func() {
		if err := os.Mkdir(blocked, 0o700); err != nil {
			t.Error(err)
		}
	}
	room := func() {
		if err := os.Remove(blocked); err != nil {
			t.Error(err)
		}
	}
	x := open(t, d, env).(*destination)
	item := delivertest.Item(ban("198.51.100.7", "abuse@example.net"), ban("198.51.100.8", "abuse@example.net"), ban("198.51.100.9", "abuse@example.net"))
	full()
	for range 2 {
		if s := deliverTo(t, x, item); !strings.HasPrefix(s, "retry 0s: 198.51.100.7 (ssh): ") || !strings.Contains(s, blocked) || len(o.all()) != 0 {
			t.Errorf("%d mails; %s", len(o.all()), s)
		}
	}
	room()
	x.mailer = &filling{x.mailer, full}
	for range 3 {
		if s := deliverTo(t, x, item); !strings.HasPrefix(s, "retry 0s: 1 of 3 complaints were sent; 198.51.100.8 (ssh): ") || len(o.all()) != 1 {
			t.Errorf("%d mails; %s", len(o.all()), s)
		}
	}
	room()
	for _, x := range []deliver.Destination{x, x, open(t, d, env)} {
		if s := deliverTo(t, x, item); !strings.HasPrefix(s, "retry ") || !strings.Contains(s, "2 of 3 complaints were sent; 198.51.100.9 (ssh): the abuse contact got 2 mails in 24 hours") || len(o.all()) != 2 {
			t.Errorf("%d mails; %s", len(o.all()), s)
		}
	}
}

// TestSentLogUnreadable: an error of the disk is tried again, and holds nothing.
func TestSentLogUnreadable(t *testing.T) {
	o, d := newOutbox(t), conf()
	env := environment(t, o)
	path := filepath.Join(env.State, "xarf-complaints.json")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	x := open(t, d, env)
	item := delivertest.Item(ban("198.51.100.7", "abuse@example.net"))
	if s := deliverTo(t, x, item); !strings.HasPrefix(s, "retry 0s: ") || !strings.Contains(s, path) || len(o.all()) != 0 {
		t.Errorf("%d mails; %s", len(o.all()), s)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if s := deliverTo(t, x, item); !strings.HasPrefix(s, "ok: ") || len(o.all()) != 1 {
		t.Errorf("%d mails; %s", len(o.all()), s)
	}
}

func TestNewRefuses(t *testing.T) {
	env := environment(t, newOutbox(t))
	d := conf()
	d.Org = ""
	if _, err := New(d, env); err == nil || !strings.Contains(err.Error(), "report.destinations.complaints.org") {
		t.Error(err)
	}
}

var _ mailer = (*sendmail.Mailer)(nil)

// TestSentLogBounded: however many complaints there were, the file can be opened again.
func TestSentLogBounded(t *testing.T) {
	dir := t.TempDir()
	b, err := openSentLog(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	for i := range maxSent + 1 {
		b.Sent[fmt.Sprintf("%016x-%064x", i, i)] = now.Unix() - maxSent + int64(i)
	}
	if err := b.record("last", []string{"abuse@example.net"}, now, 1000*time.Hour); err != nil {
		t.Fatal(err)
	}
	if b, err = openSentLog(dir, "x"); err != nil || !b.has("last") || len(b.Sent) > maxSent {
		t.Errorf("%v; %d complaints", err, len(b.Sent))
	}
	for i := range 10 {
		if key := fmt.Sprintf("%016x-%064x", maxSent-i, maxSent-i); !b.has(key) {
			t.Errorf("%s is forgotten", key)
		}
	}
}
