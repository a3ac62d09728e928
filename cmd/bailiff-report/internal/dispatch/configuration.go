package dispatch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal/audit"
	"bailiff/policy/config"
)

// configuration is a loaded configuration with its destinations. It never changes.
type configuration struct {
	conf      *config.Config
	env       deliver.Env
	endpoints map[string]*endpoint // of enabled destinations
}

// endpoint is a configured destination.
type endpoint struct {
	conf        config.Destination
	dst         deliver.Destination
	traced      deliver.Traced // nil: its deliveries leave no trace in the journal
	err         error          // why it cannot work as configured
	limit       time.Duration  // of one delivery
	fingerprint string         // equal if it is configured in the same way
	hostNames   string         // it was made with
}

// load loads the configuration. It may take a while (files, DNS), so it does not run in the dispatcher.
func (d *Dispatcher) load() (*configuration, error) {
	c, err := d.o.Load()
	if err != nil {
		return nil, err
	}
	env, err := d.o.Env(c)
	if err != nil {
		return nil, err
	}
	s := &configuration{c, env, map[string]*endpoint{}}
	for i := range c.Report.Destinations {
		conf := c.Report.Destinations[i]
		if !conf.Enabled {
			continue
		}
		conf.RetryFor = cmp.Or(conf.RetryFor, c.Report.RetryFor)
		ep := &endpoint{conf: conf, fingerprint: fingerprint(&conf, &c.Report, &env), hostNames: strings.Join(env.Own, " ")}
		// Destinations have their own limits; this one is for a destination that ignores them.
		ep.limit = max(conf.TimeLimit, c.Report.Sendmail.TimeLimit) + 5*time.Second
		var err error
		if name := conf.CredentialName(); name != "" && env.Secret != nil {
			_, err = env.Secret(name)
		}
		if err == nil {
			ep.dst, err = d.o.New(&ep.conf, env)
		}
		if err != nil {
			ep.err = fmt.Errorf("report.destinations.%s: %w", conf.Name, err)
		}
		ep.traced, _ = ep.dst.(deliver.Traced)
		s.endpoints[conf.Name] = ep
	}
	return s, nil
}

// fingerprint is equal for equal configurations of a destination, its secret included, which it does not reveal. The addresses of
// this host are not part of it: they change by themselves.
func fingerprint(c *config.Destination, r *config.Report, env *deliver.Env) string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode([]any{c, r.Host, r.Sender, r.Lookup, r.Sendmail, env.Host}) // a hash never fails
	if name := c.CredentialName(); name != "" && env.Secret != nil {
		if b, err := env.Secret(name); err == nil {
			s := sha256.Sum256(b)
			h.Write(s[:])
		}
	}
	if c.Template != "" { // the file may have changed
		if f, err := os.Open(c.Template); err == nil {
			_, _ = io.CopyN(h, f, 1<<20) // New reports a template that cannot be read
			f.Close()
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Reload loads the configuration again. At an error, the running configuration stays in effect.
func (d *Dispatcher) Reload(ctx context.Context) error {
	d.reload.Lock()
	defer d.reload.Unlock()
	s, err := d.load()
	if e := d.call(ctx, func() {
		if d.confErr = ""; err != nil {
			d.confErr = strings.ReplaceAll(err.Error(), "\n", "; ")
			d.event(audit.KindReloadRefused, "reports: the new configuration is rejected, the running one stays in effect: "+d.confErr)
			return
		}
		d.configure(s)
	}); e != nil {
		return e
	}
	return err
}

// configure applies a configuration.
func (d *Dispatcher) configure(s *configuration) {
	old := d.set
	d.set = s
	for name := range s.endpoints {
		d.q.destination(name)
	}
	for _, x := range d.q.sorted() {
		was, ep := old.endpoints[x.name], s.endpoints[x.name]
		if ep != nil && was != nil && was.err == nil && ep.err == nil && was.fingerprint == ep.fingerprint && was.hostNames == ep.hostNames {
			ep = was
			s.endpoints[x.name] = was
		}
		held := x.held()
		if x.ep = ep; ep == nil {
			continue
		}
		if was == nil || was.fingerprint != ep.fingerprint {
			x.pausedUntil, x.failures, x.lastErr = time.Time{}, 0, ""
		}
		for _, it := range x.all {
			it.trace = ""
		}
		if x.hold != nil && x.hold.Print != ep.fingerprint {
			d.q.write(kindHold, recHold{Dest: x.name, Time: d.o.Now().UnixMicro()}, nil)
		}
		field := audit.Field{Name: audit.FieldDestination, Value: x.name}
		switch now := x.held(); {
		case ep.err != nil && now != held:
			text := oneLine(ep.err.Error())
			d.event(audit.KindReportsHeld, fmt.Sprintf("reports to %s wait: %s", x.name, text), field, audit.Field{Name: audit.FieldProblem, Value: holdOf(x.name)}, audit.Field{Name: audit.FieldError, Value: text})
		case held != "" && now == "":
			d.event(audit.KindReportsResumed, fmt.Sprintf("reports to %s go out again: the configuration has changed", x.name), field, audit.Field{Name: audit.FieldProblem, Value: holdOf(x.name)})
		}
	}
	for _, rp := range d.q.reports {
		d.lookUp(rp)
	}
}

// held says why nothing is sent to a destination until an administrator acts; "": it is not held.
func (x *destination) held() string {
	switch {
	case x.ep != nil && x.ep.err != nil:
		return oneLine(x.ep.err.Error())
	case x.hold != nil:
		return x.hold.Why
	}
	return ""
}

// accepts reports whether a destination wants reports of a ban. Its window is checked later.
func accepts(c *config.Destination, b *Ban) bool {
	hand := b.By != ""
	if b.Event != report.Ban || c.Notice() {
		if !notifies(c, b) {
			return false
		}
	}
	switch {
	case urgent(b.Event): // has no jail
		return true
	case b.Event == report.Unban:
		return len(c.Jails) == 0 || slices.Contains(c.Jails, b.Jail)
	case b.Restored, b.Unreported,
		hand && !c.Manual,
		b.Wide && !c.Networks,
		b.Extended && !c.Prolonged,
		!hand && b.Failures < c.MinFailures,
		len(c.Jails) > 0 && !slices.Contains(c.Jails, b.Jail):
		return false
	}
	return true
}

// reportedLately reports whether an address was reported within the window of a destination.
func (x *destination) reportedLately(b *Ban, addr netip.Addr, rebuilding bool) bool {
	window := x.ep.conf.Window
	last, ok := x.window[addr]
	if window == 0 || !ok || b.Event != report.Ban {
		return false
	}
	since := b.Time.Unix() - last
	return since < int64(window/time.Second) && (since > 0 || since == 0 && !rebuilding)
}
