package fleet

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/units/hub"
)

// run runs a verb of `bailiff fleet`.
func run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return clitest.Run(t, cli.Group("fleet", "test", Commands()...), append([]string{"fleet"}, args...)...)
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, stderr, status := run(t, args...)
	if status != 0 {
		t.Fatalf("%q: status %d: %s", args, status, stderr)
	}
	return out
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// roster returns the roster that the server gets; it must be the same for every server.
func roster(t *testing.T, dir string) *hub.Roster {
	t.Helper()
	l, err := filepath.Glob(filepath.Join(dir, "servers", "*", "admin.json"))
	if err != nil || len(l) == 0 {
		t.Fatal("no server:", err)
	}
	var first *hub.Roster
	for _, name := range l {
		a, err := hub.ReadAdmin(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Roster.Peek()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r
		} else if r.Serial != first.Serial || a.Replicas != len(l) {
			t.Errorf("%s: roster %d, %d replicas", name, r.Serial, a.Replicas)
		}
	}
	return first
}

// accepts has a real nats-server check the configuration of a server.
func accepts(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("nats-server"); err != nil {
		t.Log("nats-server is not installed: its look at the configuration is left to the tests on booted hosts")
		return
	}
	if out, err := exec.Command("nats-server", "--version").Output(); err != nil || strings.Contains(string(out), " v2.9.") { // Debian 12
		t.Logf("%s, %v: too old", out, err)
		return
	}
	if err := tryHub(t.Context(), dir, read(t, filepath.Join(dir, confName))); err != nil {
		t.Error(err)
	}
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	out := mustRun(t, "init", dir, "--server", "Hub.example.org", "--operator", "ann", "web1=berlin", "web-2=berlin", "mail_1")
	for _, want := range []string{"fleet shop: 3 hosts", "1. server hub.example.org: copy the folder " + dir + "/servers/hub.example.org to it and run there: bailiff fleet hub hub.example.org\n",
		"host mail_1: move " + dir + "/hosts/mail_1.json to it", "bailiff fleet join mail_1.json", "4222/tcp for the hosts"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	secrets := 0
	if err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		text := string(read(t, name))
		secret := strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, `"nkey": "SU`) || filepath.Ext(name) == ".key" || filepath.Base(name) == confName
		if secret {
			secrets++
		}
		if secret && st.Mode().Perm()&0o007 != 0 || !secret && st.Mode().Perm() != 0o644 {
			t.Errorf("%s: mode %v, secret: %v", name, st.Mode(), secret)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if secrets != 3+3+3 { // operator's, admin's and CA's key; three hosts; the server's key, admin file and configuration
		t.Errorf("%d files hold secrets", secrets)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}

	m, err := hub.ReadMember(filepath.Join(dir, "hosts/web-2.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := roster(t, dir)
	if m.Fleet != "shop" || m.Host != "web-2" || m.Group != "berlin" || !slices.Equal(r.Servers, []string{"tls://hub.example.org:4222"}) || m.Trust.Operators[0].Name != "ann" {
		t.Errorf("%+v", m)
	}
	if len(r.Hosts) != 3 || r.Hosts["mail_1"].Group != "mail_1" || len(r.Hosts["web1"].Keys) != 1 {
		t.Errorf("%+v", r)
	}

	// The certificate is valid for the server's name and localhost only, and only under the fleet's CA.
	server := filepath.Join(dir, "servers/hub.example.org")
	pool, err := hub.Pool(r.CA)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(read(t, filepath.Join(server, "hub.crt")))
	cert, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{"hub.example.org": true, "127.0.0.1": true, "localhost": true, "web1": false} {
		for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, KeyUsages: []x509.ExtKeyUsage{use}}); (err == nil) != good {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	accepts(t, server)
	conf := string(read(t, filepath.Join(server, confName)))
	if strings.Contains(conf, "cluster") || strings.Count(conf, "nkey: U") != 4 || !strings.Contains(conf, `subject: "ban.web-2.>"`) {
		t.Error(conf)
	}

	// A second fleet in the same folder is refused.
	if _, stderr, status := run(t, "init", dir, "--server", "h", "a"); status != 1 || !strings.Contains(stderr, "holds a fleet already") || !strings.Contains(stderr, "bailiff fleet add") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// TestManyHosts: what to do is told once for many hosts.
func TestManyHosts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	args := []string{"init", dir, "--server", "hub.example.org"}
	for i := range mostSteps + 1 {
		args = append(args, "web"+strconv.Itoa(i))
	}
	out := mustRun(t, args...)
	if !strings.Contains(out, "2. 11 hosts: move "+dir+"/hosts/HOST.json to each") || strings.Contains(out, "host web1") {
		t.Error(out)
	}
}

// TestThreeServers: routed servers know each other, and each has a certificate of its own.
func TestThreeServers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "f")
	out := mustRun(t, "init", dir, "--name", "shop", "--json", "--server", "192.0.2.1", "--server", "[2001:db8::2]:14222", "--server", "c.example.org:4333", "a=x")
	var r result
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Fleet != "shop" || r.Hosts != 1 || len(r.Steps) != 5 || !slices.Contains(r.Files, dir+"/servers/2001-db8--2/") {
		t.Errorf("%v: %s", err, out)
	}
	first := roster(t, dir)
	certs := map[string]bool{}
	for name, want := range map[string][]string{
		"192.0.2.1":     {`listen: "0.0.0.0:4222"`, `@[2001:db8::2]:6222"`, `@c.example.org:6222"`, `server_name: "192.0.2.1"`},
		"2001-db8--2":   {`listen: "0.0.0.0:14222"`, `@192.0.2.1:6222"`, `client_advertise: "[2001:db8::2]:14222"`},
		"c.example.org": {`listen: "0.0.0.0:4333"`, `@192.0.2.1:6222"`, `advertise: "c.example.org:6222"`},
	} {
		server := filepath.Join(dir, "servers", name)
		conf := string(read(t, filepath.Join(server, confName)))
		for _, w := range append(want, `cluster {`, `name: "shop"`, "verify: true") {
			if !strings.Contains(conf, w) {
				t.Errorf("%s: no %s in\n%s", name, w, conf)
			}
		}
		if strings.Count(conf, "nats://") != 2 {
			t.Errorf("%s has routes to itself:\n%s", name, conf)
		}
		certs[string(read(t, filepath.Join(server, "hub.crt")))] = true
		accepts(t, server)
	}
	if len(certs) != 3 {
		t.Errorf("%d certificates", len(certs))
	}
	if !slices.Equal(first.Servers, []string{"tls://192.0.2.1:4222", "tls://[2001:db8::2]:14222", "tls://c.example.org:4333"}) {
		t.Errorf("%+v", first)
	}
}

// TestLife adds a host, gives one new keys and revokes one. Serial numbers grow, whatever the clock says.
func TestLife(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	mustRun(t, "init", dir, "--server", "192.0.2.1", "web1", "web2")
	last := uint64(0)
	step := func(hosts map[string]int) *hub.Roster {
		t.Helper()
		r := roster(t, dir)
		if r.Serial <= last {
			t.Errorf("roster %d after %d", r.Serial, last)
		}
		last = r.Serial
		if len(r.Hosts) != len(hosts) {
			t.Errorf("%+v", r.Hosts)
		}
		conf := string(read(t, filepath.Join(dir, "servers/192.0.2.1", confName)))
		nkeys := 1
		for name, keys := range hosts {
			nkeys += keys
			if len(r.Hosts[name].Keys) != keys || !strings.Contains(conf, `"H_`+name+`" {`) {
				t.Errorf("%s: %d keys", name, len(r.Hosts[name].Keys))
			}
		}
		if n := strings.Count(conf, "nkey: U"); n != nkeys {
			t.Errorf("%d nkeys in the configuration, want %d", n, nkeys)
		}
		accepts(t, filepath.Join(dir, "servers/192.0.2.1"))
		return r
	}
	first := step(map[string]int{"web1": 1, "web2": 1})
	cert := read(t, filepath.Join(dir, "servers/192.0.2.1/hub.crt"))
	if err := os.Remove(filepath.Join(dir, "hosts/web1.json")); err != nil { // it was moved to web1
		t.Fatal(err)
	}
	inventory := read(t, filepath.Join(dir, inventoryFile))
	mustRun(t, "add", dir, "mail1=paris")
	step(map[string]int{"web1": 1, "web2": 1, "mail1": 1})
	if string(cert) != string(read(t, filepath.Join(dir, "servers/192.0.2.1/hub.crt"))) {
		t.Error("the server's certificate has changed")
	}
	if m, err := hub.ReadMember(filepath.Join(dir, "hosts/web2.json")); err != nil {
		t.Error(err)
	} else if m.Serial != last {
		t.Errorf("web2 would begin with roster %d", m.Serial)
	}

	// As after a crash before the inventory was written: the command can be repeated.
	if err := os.WriteFile(filepath.Join(dir, inventoryFile), inventory, 0o644); err != nil {
		t.Fatal(err)
	}
	last = 0
	mustRun(t, "add", dir, "mail1=paris")
	step(map[string]int{"web1": 1, "web2": 1, "mail1": 1})

	out := mustRun(t, "rotate", dir, "web1")
	if !strings.Contains(out, "bailiff fleet rotate --finish "+dir+" web1") || !strings.Contains(out, "bailiff fleet join web1.json") {
		t.Error(out)
	}
	r := step(map[string]int{"web1": 2, "web2": 1, "mail1": 1})
	m, err := hub.ReadMember(filepath.Join(dir, "hosts/web1.json"))
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Hosts["web1"].Keys[0]) != string(first.Hosts["web1"].Keys[0]) {
		t.Error("the old key is gone at once")
	}
	mustRun(t, "rotate", "--finish", dir, "web1")
	r = step(map[string]int{"web1": 1, "web2": 1, "mail1": 1})
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	if string(r.Hosts["web1"].Keys[0]) == string(first.Hosts["web1"].Keys[0]) {
		t.Error("the old key is still valid")
	}
	conf := string(read(t, filepath.Join(dir, "servers/192.0.2.1", confName)))
	if nkey, err := hub.NKeyPublic(m.NKey); err != nil || !strings.Contains(conf, nkey) {
		t.Errorf("the new nkey %s is not in the configuration: %v", nkey, err)
	}

	if out := mustRun(t, "allow", dir, "192.0.2.7", "2001:db8::/48", "--for", "2d", "--comment", "customer"); !strings.Contains(out, "bailiff fleet publish "+dir) {
		t.Error(out)
	}
	mustRun(t, "allow", dir, "192.0.2.7", "192.0.2.8")
	if r = step(map[string]int{"web1": 1, "web2": 1, "mail1": 1}); len(r.Allow) != 3 || r.Allow[0].Until == nil || r.Allow[0].Comment != "customer" || r.Allow[1].Until != nil {
		t.Errorf("%+v", r.Allow)
	}
	mustRun(t, "allow", "--remove", dir, "192.0.2.7", "2001:db8::/48")
	if r = step(map[string]int{"web1": 1, "web2": 1, "mail1": 1}); len(r.Allow) != 1 || r.Allow[0].Prefix.String() != "192.0.2.8/32" {
		t.Errorf("%+v", r.Allow)
	}
	mustRun(t, "revoke", dir, "web1", "mail1")
	step(map[string]int{"web2": 1})
	if _, err := os.Stat(filepath.Join(dir, "hosts/web1.json")); err == nil {
		t.Error("the file of a revoked host is still there")
	}
}

// TestMistakes: each mistake gets an error that names it, and changes nothing.
func TestMistakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	mustRun(t, "init", dir, "--server", "192.0.2.1", "web1", "web2")
	before := string(read(t, filepath.Join(dir, inventoryFile)))
	fresh := filepath.Join(t.TempDir(), "new")
	for want, args := range map[string][]string{
		"no server is given":                                  {"init", fresh, "a"},
		"2 servers are given":                                 {"init", fresh, "--server", "a", "--server", "b", "h"},
		"a is given twice":                                    {"init", fresh, "--server", "a", "--server", "A:99", "h"},
		"the port is not 1 to 65535":                          {"init", fresh, "--server", "a:70000", "h"},
		`"a b" is not HOST[:PORT]`:                            {"init", fresh, "--server", "a b", "h"},
		`"x\" }" is not HOST[:PORT]`:                          {"init", fresh, "--server", `x" }`, "h"},
		`other hosts cannot connect to "::"`:                  {"init", fresh, "--server", "::", "h"},
		"write web1":                                          {"init", fresh, "--server", "a", "web1.example.org"},
		"host h is given twice":                               {"init", fresh, "--server", "a", "h", "h=g"},
		`"g/h" is not 1 to 64 letters`:                        {"init", fresh, "--server", "a", "h=g/h"},
		`--name: "a b" is not`:                                {"init", fresh, "--server", "a", "--name", "a b", "h"},
		"missing HOST[=GROUP]…":                               {"init", fresh, "--server", "a"},
		"host web1 is in the fleet already":                   {"add", dir, "web1"},
		"it is wider than /16":                                {"allow", dir, "10.0.0.0/8"},
		"0.0.0.0/0 cannot be allowed for a fleet: it is wide": {"allow", dir, "0.0.0.0/0"},
		"printable ASCII":                                     {"allow", dir, "192.0.2.7", "--comment", "a\nb"},
		"is not allowed by this":                              {"allow", dir, "192.0.2.7", "--remove"},
		"write 10m, 48h":                                      {"allow", dir, "192.0.2.7", "--for", "x"},
		"there are web1, web2":                                {"rotate", dir, "web3"},
		"nothing to finish":                                   {"rotate", dir, "web1", "--finish"},
		`host "web9" is not in fleet shop`:                    {"revoke", dir, "web1", "web9"},
		"bailiff fleet init " + fresh + " --server HOST …":    {"add", fresh, "h"},
		"is not the folder of a server":                       {"hub", dir},
		"no such file":                                        {"join", fresh},
		"not a file of a fleet":                               {"join", filepath.Join(dir, operatorFile)},
	} {
		want = strings.Replace(want, "HOST …", "HOST HOST…", 1)
		if out, stderr, status := run(t, args...); status == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%q: status %d, no %q in %s%s", args, status, want, out, stderr)
		}
	}
	if string(read(t, filepath.Join(dir, inventoryFile))) != before {
		t.Error("the inventory has changed")
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("a folder was made by mistake")
	}
	for want, spoil := range map[string][2]string{
		"unknown field":                {`"version"`, `"extra": 1, "version"`},
		"not the public key":           {`"nkeys": [`, `"nkeys": ["x\" } ] }", `},
		"not a server":                 {`"192.0.2.1"`, `"x\" ] }"`},
		"is not the name of":           {`"web1"`, `"web 1"`},
		"another version":              {`"version": 1`, `"version": 2`},
		"cannot unmarshal":             {`"serial": `, `"serial": -`},
		"something follows":            {"}\n}\n", "}\n}\n{}"},
		"2 keys and 1 nkeys":           {`"keys": [`, `"keys": ["AAAA", `},
		"illegal base64":               {`"keys": [`, `"keys": ["!", `},
		"fleet: \"a b\" is not a name": {`"fleet": "shop"`, `"fleet": "a b"`},
		"trust: operators: no number":  {`"number": 1`, `"number": 0`},
	} {
		bad := strings.Replace(before, spoil[0], spoil[1], 1)
		if want == "not the public key" {
			bad = strings.Replace(bad, `"keys": [`, `"keys": ["AAAA", `, 1)
		}
		if err := os.WriteFile(filepath.Join(dir, inventoryFile), []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, stderr, status := run(t, "add", dir, "web3"); status != 1 || !strings.Contains(stderr, want) || bad == before {
			t.Errorf("%s: status %d: %s", want, status, stderr)
		}
	}
}

// TestPublish: it is enough if one server takes the roster; if none does, each one's answer is shown.
func TestPublish(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	mustRun(t, "init", dir, "--server", "192.0.2.1", "--server", "192.0.2.2", "--server", "192.0.2.3", "web1")
	bin := t.TempDir()
	t.Setenv("PATH", bin+":/bin:/usr/bin")
	if _, stderr, status := run(t, "publish", dir); status != 1 || !strings.Contains(stderr, "bailiff must be installed") {
		t.Errorf("without bailiff-fleet: status %d: %s", status, stderr)
	}
	script := "#!/bin/sh\ncase $5 in *192.0.2.2*) echo stored;; *) echo \"bailiff-fleet: no answer from $5\" >&2; exit 1;; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "bailiff-fleet"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, serversDir, "192.0.2.3", confName) // of an earlier version
	want, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, []byte("accounts {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := mustRun(t, "publish", dir); out != "192.0.2.2: stored\n" {
		t.Error(out)
	}
	if got, err := os.ReadFile(old); err != nil || !bytes.Equal(got, want) || !bytes.Contains(got, []byte(`subject: "count.web1"`)) {
		t.Errorf("the configuration of a server is %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(bin, "bailiff-fleet"), []byte(strings.Replace(script, "*192.0.2.2*", "none", 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, stderr, status := run(t, "publish", dir); status != 1 || strings.Count(stderr, "no answer from ") != 3 || !strings.Contains(stderr, "192.0.2.3: no answer") {
		t.Errorf("status %d: %s", status, stderr)
	}
}
