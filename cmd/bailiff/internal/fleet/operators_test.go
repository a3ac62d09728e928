package fleet

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/units/hub"
)

// trusts fails unless an earlier member file opens the folder's roster, and returns the operators that result.
func trusts(t *testing.T, m *hub.Member, dir string) (*hub.Roster, *hub.Trust) {
	t.Helper()
	l, err := filepath.Glob(filepath.Join(dir, "servers", "*", adminName))
	if err != nil || len(l) == 0 {
		t.Fatal("no server:", err)
	}
	a, err := hub.ReadAdmin(l[0])
	if err != nil {
		t.Fatal(err)
	}
	r, now, err := m.Trust.Open(m.Fleet, &a.Roster)
	if err != nil {
		t.Fatal(err)
	}
	return r, now
}

// believed reports whether a CA vouches for a server's certificate.
func believed(t *testing.T, ca, server string) bool {
	t.Helper()
	pool, err := hub.Pool(ca)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(read(t, filepath.Join(server, "hub.crt")))
	cert, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cert.Verify(x509.VerifyOptions{DNSName: "192.0.2.1", Roots: pool})
	return err == nil
}

func seedOf(t *testing.T, server string) string {
	t.Helper()
	a, err := hub.ReadAdmin(filepath.Join(server, adminName))
	if err != nil {
		t.Fatal(err)
	}
	return a.NKey
}

// TestOperators: a second operator gets a folder of their own and removes the first one, and hosts that know the first one follow. In the
// end the first one's keys of the hub no longer work.
func TestOperators(t *testing.T) {
	tmp := t.TempDir()
	ann, bob := filepath.Join(tmp, "shop"), filepath.Join(tmp, "bobs")
	mustRun(t, "init", ann, "--server", "192.0.2.1", "--operator", "ann", "web1", "web2")
	m, err := hub.ReadMember(filepath.Join(ann, "hosts/web1.json"))
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(tmp, "bob.key")
	public := strings.TrimSpace(mustRun(t, "key", key))
	if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, stderr, status := run(t, "key", key); status != 1 || !strings.Contains(stderr, "exists") {
		t.Errorf("a key was written over: %s", stderr)
	}
	if out := mustRun(t, "operator", ann, "bob", public); !strings.Contains(out, "bailiff fleet publish "+ann) || !strings.Contains(out, "give bob a copy of "+ann+" without operator.key") {
		t.Error(out)
	}
	if _, now := trusts(t, m, ann); len(now.Operators) != 2 || now.Number != 2 {
		t.Errorf("%+v", now)
	}
	if err := os.CopyFS(bob, os.DirFS(ann)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bob, operatorFile), read(t, key), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "allow", bob, "192.0.2.7")
	if r, _ := trusts(t, m, bob); r.Allow[0].By != "bob" {
		t.Errorf("%+v", r.Allow)
	}
	server := filepath.Join(bob, "servers/192.0.2.1")
	seed, conf, first := seedOf(t, server), string(read(t, filepath.Join(server, confName))), roster(t, bob)

	for want, args := range map[string][]string{
		"bob is an operator already":               {"operator", bob, "bob", public},
		"is not the public key of an operator":     {"operator", bob, "eve", "AAAA"},
		"operators[2].key: it is that of bob, too": {"operator", bob, "eve", public},
		"missing KEY":                            {"operator", bob, "eve"},
		"takes no key":                           {"operator", "--remove", bob, "ann", public},
		`"eve" is not an operator of fleet shop`: {"operator", "--remove", bob, "eve"},
		"another operator has to remove it":      {"operator", "--remove", bob, "bob"},
		"nothing to finish":                      {"rotate", "--finish", bob},
	} {
		if out, stderr, status := run(t, args...); status == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%q: status %d, no %q in %s%s", args, status, want, out, stderr)
		}
	}

	out := mustRun(t, "operator", "--remove", bob, "ann")
	if !strings.Contains(out, "bailiff fleet rotate --finish "+bob) || strings.Contains(out, "stay allowed") {
		t.Error(out)
	}
	r, now := trusts(t, m, bob)
	if len(now.Operators) != 1 || now.Operators[0].Name != "bob" || now.Number != 3 {
		t.Errorf("%+v", now)
	}
	// ann can still use her old folder; hosts that know of the removal refuse the result.
	mustRun(t, "add", ann, "evil")
	a, err := hub.ReadAdmin(filepath.Join(ann, "servers/192.0.2.1", adminName))
	if err != nil {
		t.Fatal(err)
	}
	if r, _, err := now.Open("shop", &a.Roster); err == nil {
		t.Errorf("ann lets %v in", r.Hosts)
	}
	if _, stderr, status := run(t, "add", bob, "web3"); status != 0 {
		t.Error(stderr)
	}
	if s := seedOf(t, server); s == seed || strings.Contains(string(read(t, filepath.Join(server, confName))), conf[strings.Index(conf, "nkey: U"):][:62]) {
		t.Error("the hub still takes the key that ann has")
	}
	if !believed(t, first.CA, server) || !believed(t, r.CA, server) {
		t.Error("hosts that have the old roster could not connect")
	}
	accepts(t, server)
	if err := os.WriteFile(filepath.Join(bob, operatorFile), read(t, filepath.Join(ann, operatorFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, status := run(t, "add", bob, "x"); status == 0 || !strings.Contains(stderr, "is not the key of an operator of fleet shop") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if err := os.WriteFile(filepath.Join(bob, operatorFile), read(t, key), 0o600); err != nil {
		t.Fatal(err)
	}

	mustRun(t, "rotate", "--finish", bob)
	last, _ := trusts(t, m, bob)
	if believed(t, first.CA, server) || !believed(t, last.CA, server) || !believed(t, r.CA, server) {
		t.Error("the certificates are not by the new authority, or hosts do not know it")
	}
	if _, err := os.Stat(filepath.Join(bob, nextKeyFile)); err == nil {
		t.Error("the new authority's key is there twice")
	}
	accepts(t, server)
	// As after a crash in the middle: the command can be repeated.
	mustRun(t, "rotate", bob)
	if err := os.WriteFile(filepath.Join(bob, caKeyFile), read(t, filepath.Join(bob, nextKeyFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "rotate", "--finish", bob)
	mustRun(t, "add", bob, "web4")
}

// TestServers: the hub gets three servers, then others, then one. Removed servers know the new roster, but no new key.
func TestServers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	mustRun(t, "init", dir, "--server", "192.0.2.1", "web1")
	m, err := hub.ReadMember(filepath.Join(dir, "hosts/web1.json"))
	if err != nil {
		t.Fatal(err)
	}
	server := func(n string) string { return filepath.Join(dir, "servers/192.0.2."+n) }
	conf := func(n string) string { return string(read(t, filepath.Join(server(n), confName))) }
	seed := seedOf(t, server("1"))
	out := mustRun(t, "servers", dir, "192.0.2.1", "192.0.2.2", "192.0.2.3:4333")
	if !strings.Contains(out, "6222/tcp for the other servers") || strings.Contains(out, "--finish") || strings.Contains(out, "leaves") {
		t.Error(out)
	}
	if r := roster(t, dir); !slices.Equal(r.Servers, []string{"tls://192.0.2.1:4222", "tls://192.0.2.2:4222", "tls://192.0.2.3:4333"}) {
		t.Errorf("%+v", r)
	}
	for _, n := range []string{"1", "2", "3"} {
		if seedOf(t, server(n)) != seed || strings.Count(conf(n), "nats://hub:") != 2 {
			t.Errorf("server %s:\n%s", n, conf(n))
		}
		accepts(t, server(n))
	}
	before := conf("3")
	out = mustRun(t, "servers", dir, "192.0.2.1", "192.0.2.2", "192.0.2.4")
	if !strings.Contains(out, "server 192.0.2.3 leaves") || !strings.Contains(out, "bailiff fleet rotate --finish "+dir) {
		t.Error(out)
	}
	r, _ := trusts(t, m, dir)
	password := func(conf string) string { _, s, _ := strings.Cut(conf, `password: "`); return s[:32] }
	if seedOf(t, server("1")) == seed || password(conf("1")) == password(before) || password(conf("1")) != password(conf("4")) || strings.Contains(conf("1"), "192.0.2.3") {
		t.Error("a server that has left could still be one")
	}
	left, err := hub.ReadAdmin(filepath.Join(server("3"), adminName))
	if err != nil {
		t.Fatal(err)
	}
	if x, _, err := m.Trust.Open("shop", &left.Roster); err != nil || x.Serial != r.Serial || left.NKey != seed || conf("3") != before || !slices.Equal(left.Servers, []string{"tls://192.0.2.3:4333"}) {
		t.Errorf("the server that leaves: %+v, %v", left, err)
	}
	mustRun(t, "add", dir, "web2")
	mustRun(t, "rotate", "--finish", dir)
	if _, err := os.Stat(server("3")); err == nil {
		t.Error("the files of the server that has left are still there")
	}
	mustRun(t, "servers", dir, "192.0.2.2")
	if strings.Contains(conf("2"), "cluster {") {
		t.Error(conf("2"))
	}
	mustRun(t, "servers", dir, "192.0.2.1") // before the end of the last change
	mustRun(t, "rotate", "--finish", dir)
	if l, err := os.ReadDir(filepath.Join(dir, serversDir)); err != nil || len(l) != 1 || l[0].Name() != "192.0.2.1" {
		t.Errorf("%v, %v", l, err)
	}
	for want, args := range map[string][]string{
		"2 servers are given":                                 {"servers", dir, "a", "b"},
		"a is given twice":                                    {"servers", dir, "a", "b", "a"},
		"already has these servers":                           {"servers", dir, "192.0.2.1"},
		"server 192.0.2.1: its port, 4222, cannot be changed": {"servers", dir, "192.0.2.1:4333"},
		"missing SERVER…":                                     {"servers", dir},
	} {
		if out, stderr, status := run(t, args...); status == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%q: status %d, no %q in %s%s", args, status, want, out, stderr)
		}
	}
}
