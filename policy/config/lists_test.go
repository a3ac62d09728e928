package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/allow"
)

func names(c *Config) (l []string) {
	for _, p := range c.Allow.Lists {
		l = append(l, p.Name)
	}
	return l
}

func TestLists(t *testing.T) {
	c := build(t, "allow: {lists: [uptimerobot, pingdom]}\n", "allow: {lists: {pingdom: {interval: 1h, min_prefix: {ipv4: 32}}, office: {url: ['https://example.org/4', 'https://example.org/6'], min_percent: 0}}}\n")
	if got := names(c); !slices.Equal(got, []string{"office", "pingdom", "uptimerobot"}) {
		t.Errorf("lists %q", got)
	}
	office := allow.Published{Name: "office", URLs: []string{"https://example.org/4", "https://example.org/6"}, Format: "text", Interval: 24 * time.Hour, MinPrefix4: 16, MinPrefix6: 32}
	if !reflect.DeepEqual(c.Allow.Lists[0], office) {
		t.Errorf("%+v\nwant %+v", c.Allow.Lists[0], office)
	}
	pingdom := allow.NewPublished("pingdom")
	pingdom.Interval, pingdom.MinPrefix4 = time.Hour, 32
	if !reflect.DeepEqual(c.Allow.Lists[1], pingdom) {
		t.Errorf("%+v\nwant %+v", c.Allow.Lists[1], pingdom)
	}
	if at := c.Origin("allow.lists.pingdom.interval"); !strings.HasSuffix(at, "10-a.yaml:1") {
		t.Errorf("origin %q", at)
	}

	// A list of names replaces those of earlier files, a mapping adds to them.
	c = build(t, "allow: {lists: {office: {url: 'https://example.org/'}}}\n", "allow: {lists: [statuscake]}\n")
	if !slices.Equal(names(c), []string{"statuscake"}) {
		t.Errorf("lists %q", names(c))
	}
	c = build(t, "allow: {lists: [statuscake]}\n", "allow: {lists: []}\n")
	if len(c.Allow.Lists) != 0 {
		t.Errorf("lists %q", names(c))
	}

	// A dropped list leaves no settings behind.
	c = build(t, "allow: {lists: {pingdom: {interval: 1h}}}\n", "allow: {lists: [pingdom]}\n")
	if at := c.Origin("allow.lists.pingdom.interval"); at != "built in" || c.Allow.Lists[0].Interval != 24*time.Hour {
		t.Errorf("origin %q of %v", at, c.Allow.Lists[0].Interval)
	}

	// Every list of the catalogue is valid: an invalid one would end every daemon that names it.
	for _, name := range allow.Catalogue() {
		if _, err := Parse("f", []byte("allow: {lists: ["+name+"]}\n")); err != nil {
			t.Error(err)
		}
	}
	if len(Default().Allow.Lists) != 0 {
		t.Error("lists are fetched that nobody named")
	}
}

func TestOperators(t *testing.T) {
	if o := Default().Allow.Operators; !o.Enabled || o.Grace != 10*time.Minute || slices.Contains(o.Groups, "adm") {
		t.Errorf("%+v", o)
	}
	c := build(t, "allow: {operators: {enabled: no, groups: [staff], grace: none}}\n")
	if !reflect.DeepEqual(c.Allow.Operators, Operators{Groups: []string{"staff"}}) {
		t.Errorf("%+v", c.Allow.Operators)
	}
}

func TestDatabaseLists(t *testing.T) {
	c := build(t, `
lists:
  home: {url: "file:///var/lib/GeoIP/GeoLite2-Country.mmdb", countries: [no, DE], others: yes, jails: [sshd]}
  hosters: {url: "https://example.org/asn.mmdb", systems: [64496, as4200000000], mode: double}
`)
	if len(c.Lists) != 2 {
		t.Fatalf("%+v", c.Lists)
	}
	home, hosters := &c.Lists[0], &c.Lists[1]
	if home.Name != "home" {
		home, hosters = hosters, home
	}
	if home.Format != "mmdb" || home.Selects() != "all but countries DE NO" || home.Mode != "drop" || !slices.Equal(home.Jails, []string{"sshd"}) {
		t.Errorf("%+v: %q", home, home.Selects())
	}
	if hosters.Format != "mmdb" || hosters.Selects() != "systems AS4200000000 AS64496" || hosters.Mode != "double" {
		t.Errorf("%+v: %q", hosters, hosters.Selects())
	}
	again, err := Parse("again", c.Render())
	if err != nil || !reflect.DeepEqual(again.Lists, c.Lists) {
		t.Errorf("%v\n%s", err, c.Render())
	}
}
