// Package destinations makes destinations of every type and their environment: this host's names and addresses, the credentials from
// systemd, and the registries. The service and previews use it, so that they agree. It delivers nothing itself.
package destinations

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/abuseipdb"
	"bailiff/cmd/bailiff-report/internal/deliver/blocklistde"
	"bailiff/cmd/bailiff-report/internal/deliver/exec"
	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/deliver/mail"
	"bailiff/cmd/bailiff-report/internal/deliver/notice"
	"bailiff/cmd/bailiff-report/internal/deliver/webhook"
	"bailiff/cmd/bailiff-report/internal/deliver/xarf"
	"bailiff/cmd/bailiff-report/internal/registry"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/credential"
	"bailiff/units/version"
)

// types holds the constructor of each type.
var types = map[string]func(*config.Destination, deliver.Env) (deliver.Destination, error){
	config.TypeAbuseIPDB: abuseipdb.New,
	config.TypeBlocklist: blocklistde.New,
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
	r := &redacted{dst, report.NewRedactor(env.Own, env.Filter)}
	if t, ok := dst.(deliver.Traced); ok {
		return &redactedTraced{r, t}, nil
	}
	return r, nil
}

// redacted is a destination that gets only redacted items.
type redacted struct {
	dst deliver.Destination
	r   *report.Redactor
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
	out := deliver.Env{Config: c, Host: host, Own: hostNames(host), Filter: filters(conf.Jails), Client: httpclient.NewClient(), Now: time.Now, Agent: agent, State: e.State, Secret: Secret}
	if c.Lookup.RDAP || c.Lookup.Whois || c.Lookup.Contacts != "" {
		out.Lookup = e.reg.Lookup
	}
	return out, nil
}

// Secret reads a key of a service. Errors contain nothing of it.
func Secret(name string) ([]byte, error) {
	return credential.Folder{Path: "/etc/bailiff/credentials", Then: "restart bailiff-report.service"}.Read(name)
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
