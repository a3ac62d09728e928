// Package destinations makes destinations of every type and their environment: this host's names and addresses, the credentials from
// systemd, and the registries. The service and previews use it, so that they agree. It delivers nothing itself.
package destinations

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/abuseipdb"
	"bailiff/cmd/bailiff-report/internal/deliver/blocklist"
	"bailiff/cmd/bailiff-report/internal/deliver/exec"
	"bailiff/cmd/bailiff-report/internal/deliver/mail"
	"bailiff/cmd/bailiff-report/internal/deliver/notice"
	"bailiff/cmd/bailiff-report/internal/deliver/web"
	"bailiff/cmd/bailiff-report/internal/deliver/webhook"
	"bailiff/cmd/bailiff-report/internal/deliver/xarf"
	"bailiff/cmd/bailiff-report/internal/redact"
	"bailiff/cmd/bailiff-report/internal/registry"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/version"
)

// types holds the constructor of each type.
var types = map[string]func(*config.Destination, deliver.Env) (deliver.Destination, error){
	config.TypeAbuseIPDB: abuseipdb.New,
	config.TypeBlocklist: blocklist.New,
	config.TypeMail:      mail.New,
	config.TypeXARF:      xarf.New,
	config.TypeWebhook:   webhook.New,
	config.TypeExec:      exec.New,
}

// New makes a destination. If its Redact is set, it gets only redacted reports.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	build := types[d.Type]
	if d.Notice() {
		build = notice.New
	}
	if build == nil {
		return nil, fmt.Errorf("unknown type of destination %q", d.Type)
	}
	dst, err := build(d, env)
	if err != nil || !d.Redact {
		return dst, err
	}
	r := &redacted{dst, redact.New(env.Own, env.Filter)}
	if t, ok := dst.(deliver.Traced); ok {
		return &redactedTraced{r, t}, nil
	}
	return r, nil
}

// redacted is a destination that gets only redacted items.
type redacted struct {
	dst deliver.Destination
	r   *redact.Redactor
}

func (d *redacted) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	return d.dst.Deliver(ctx, d.r.Item(item))
}

func (d *redacted) Render(item *report.Item) ([]byte, error) { return d.dst.Render(d.r.Item(item)) }

type redactedTraced struct {
	*redacted
	traced deliver.Traced
}

func (d *redactedTraced) Trace(item *report.Item) string { return d.traced.Trace(d.r.Item(item)) }

// filters finds the filters of the jails, or the built-in filter if there is no such jail.
func filters(jails []config.Jail) func(name string) *filter.Filter {
	all := map[string]*filter.Filter{}
	for i := range jails {
		if f := jails[i].Filter; f != nil {
			all[f.Name] = f
		}
	}
	return func(name string) *filter.Filter {
		if f := all[name]; f != nil {
			return f
		}
		f, err := filter.LoadBuiltin(name)
		if err != nil {
			return nil
		}
		return f
	}
}

// Env returns the environment of destinations. state is the folder for their files; "": they save nothing.
func Env(conf *config.Config, state string) (deliver.Env, error) {
	return (&Envs{State: state}).Env(conf)
}

// Envs makes environments for successive configurations. They share a registry while their lookup settings are the same, so that a
// reload does not reset its rate limits. It is not safe for concurrent use.
type Envs struct {
	State string // folder for the files of destinations

	lookup config.Lookup
	reg    *registry.Registry
}

// Env returns the environment of destinations for a configuration.
func (e *Envs) Env(conf *config.Config) (deliver.Env, error) {
	c := &conf.Report
	agent := "bailiff/" + version.String()
	lookup := c.Lookup
	if !slices.ContainsFunc(c.Destinations, func(d config.Destination) bool { return d.Enabled && d.Type == config.TypeXARF }) {
		lookup.Contacts = "" // nothing else needs them, and each question reveals a banned address
	}
	if e.reg == nil || e.lookup != lookup || lookup.Bootstrap != "" { // the file may have changed
		reg, err := registry.New(lookup, registry.Options{Agent: agent})
		if err != nil {
			return deliver.Env{}, err
		}
		e.lookup, e.reg = lookup, reg
	}
	host := c.Host
	if host == "" {
		host = Host()
	}
	out := deliver.Env{Config: c, Host: host, Own: hostNames(host), Filter: filters(conf.Jails), Client: web.NewClient(), Now: time.Now, Agent: agent, State: e.State, Secret: Secret}
	if c.Lookup.RDAP || c.Lookup.Whois || c.Lookup.Contacts != "" {
		out.Lookup = e.reg.Lookup
	}
	return out, nil
}

// maxSecret is the largest size of a credential, in bytes.
const maxSecret = 64 << 10

// Secret reads a credential from systemd (systemd.exec(5), LoadCredential=): NAME, or the file NAME of a folder that was passed with
// the id bailiff, or bailiff-key for encrypted files. Errors contain nothing of it.
func Secret(name string) ([]byte, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, fmt.Errorf("credential %s: systemd passed no credentials (LoadCredential= in the unit)", name)
	}
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("credential %q: not a name", name)
	}
	short := strings.TrimPrefix(name, "bailiff_")
	for _, file := range []string{name, "bailiff_" + short, "bailiff-key_" + short} {
		b, err := secret(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("credential %s: %w", name, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("credential %s: missing: write it to /etc/bailiff/credentials/%s and restart bailiff-report.service", name, short)
}

func secret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case st.Mode()&0o007 != 0: // systemd's access list shows in the group's mode
		return nil, fmt.Errorf("readable by everybody (mode %04o)", st.Mode().Perm())
	case st.Size() > maxSecret:
		return nil, fmt.Errorf("has %d bytes, more than %d", st.Size(), maxSecret)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return nil, errors.New("is empty")
	}
	return b, nil
}

// Masked replaces Secret for a preview.
func Masked(string) ([]byte, error) { return []byte("********"), nil }

// Host returns this host's name with its domain: as set, or as in /etc/hosts or DNS.
func Host() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	if strings.Contains(name, ".") {
		return name
	}
	if f, err := os.Open("/etc/hosts"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			line, _, _ := strings.Cut(s.Text(), "#")
			fields := strings.Fields(line)
			if len(fields) < 2 || !slices.Contains(fields[1:], name) {
				continue
			}
			for _, full := range fields[1:] {
				if strings.HasPrefix(full, name+".") && config.ValidHost(full) {
					return full
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil {
		if full = strings.TrimSuffix(full, "."); strings.HasPrefix(full, name+".") && config.ValidHost(full) {
			return full
		}
	}
	return name
}

// hostNames lists this host's names and addresses, for redaction.
func hostNames(host string) (l []string) {
	add := func(s string) {
		if s != "" && s != "localhost" && !slices.Contains(l, s) {
			l = append(l, s)
		}
	}
	add(host)
	name, _ := os.Hostname()
	add(name)
	short, _, _ := strings.Cut(host, ".")
	add(short)
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
				add(p.Addr().WithZone("").Unmap().String())
			}
		}
	}
	return l
}
