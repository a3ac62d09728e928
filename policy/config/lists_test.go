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
	c, err := tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":        "allow: {lists: [uptimerobot, pingdom]}\n",
		"etc/bailiff/bailiff.d/10-a.yaml": "allow: {lists: {pingdom: {interval: 1h, min_prefix: {ipv4: 32}}, office: {url: ['https://example.org/4', 'https://example.org/6'], min_percent: 0}}}\n",
	}).Load()
	if err != nil {
		t.Fatal(err)
	}
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

	// A list of names replaces what files before said, a mapping adds to it.
	c, err = tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":        "allow: {lists: {office: {url: 'https://example.org/'}}}\n",
		"etc/bailiff/bailiff.d/10-a.yaml": "allow: {lists: [statuscake]}\n",
	}).Load()
	if err != nil || !slices.Equal(names(c), []string{"statuscake"}) {
		t.Errorf("%v, lists %q", err, names(c))
	}
	c, err = tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":        "allow: {lists: [statuscake]}\n",
		"etc/bailiff/bailiff.d/10-a.yaml": "allow: {lists: []}\n",
	}).Load()
	if err != nil || len(c.Allow.Lists) != 0 {
		t.Errorf("%v, lists %q", err, names(c))
	}

	// The catalogue as a whole is fit for use: a change of it that is not would end every daemon that names the list.
	for _, name := range allow.Catalogue() {
		if _, err := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": "allow: {lists: [" + name + "]}\n"}).Load(); err != nil {
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
	c, err := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": "allow: {operators: {enabled: no, groups: [staff], grace: none}}\n"}).Load()
	if err != nil || !reflect.DeepEqual(c.Allow.Operators, Operators{Groups: []string{"staff"}}) {
		t.Errorf("%v, %+v", err, c.Allow.Operators)
	}
}
