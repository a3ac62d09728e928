package hub

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(k ed25519.PrivateKey) Key { return Key(k.Public().(ed25519.PublicKey)) }

func testCA(t *testing.T) string {
	t.Helper()
	k := newKey(t)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// testFleet is a fleet of web1 and mail1.
type testFleet struct {
	operator, web1 ed25519.PrivateKey
	roster         *Roster
	sealed         Sealed
	member         *Member
}

func newFleet(t *testing.T) *testFleet {
	t.Helper()
	f := &testFleet{operator: newKey(t), web1: newKey(t)}
	f.roster = &Roster{Version: 1, Fleet: "shop", Serial: 7, Made: time.Now().UTC().Truncate(time.Second), Servers: []string{"tls://192.0.2.1:4222", "tls://[2001:db8::1]:4222"}, CA: testCA(t), Hosts: map[string]RosterHost{
		"web1":  {Group: "berlin", Keys: []Key{public(f.web1)}},
		"mail1": {Group: "paris", Keys: []Key{public(newKey(t)), public(newKey(t))}},
	}}
	until := f.roster.Made.Add(time.Hour)
	f.roster.Allow = []Allowed{{Prefix: netip.MustParsePrefix("192.0.2.7/32"), By: "ann", Comment: "customer"}, {Prefix: netip.MustParsePrefix("2001:db8::/48"), Until: &until, By: "ann"}}
	seed, _, err := NewNKey()
	if err != nil {
		t.Fatal(err)
	}
	f.member = &Member{
		Version: 1, Fleet: "shop", Host: "web1", Group: "berlin", NKey: seed, Key: f.web1.Seed(),
		Servers: f.roster.Servers, CA: f.roster.CA, Trust: Trust{1, []Operator{{"ann", public(f.operator)}}}, Serial: f.roster.Serial,
	}
	f.sign(t)
	return f
}

func (f *testFleet) sign(t *testing.T) {
	t.Helper()
	s, err := f.roster.Sign(f.operator)
	if err != nil {
		t.Fatal(err)
	}
	f.sealed = *s
}

func (f *testFleet) open(s *Sealed) (*Roster, error) {
	r, _, err := f.member.Trust.Open("shop", s)
	return r, err
}

func TestMemberFile(t *testing.T) {
	f := newFleet(t)
	name := filepath.Join(t.TempDir(), "web1.json")
	if err := f.member.Write(name); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(name); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, mode %v", err, st.Mode())
	}
	m, err := ReadMember(name)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, f.member) {
		t.Errorf("read %+v\nwrote %+v", m, f.member)
	}
	r, err := f.open(&f.sealed)
	if err != nil || !reflect.DeepEqual(r, f.roster) {
		t.Errorf("%+v, %v", r, err)
	}
	if g := r.Groups(); len(g) != 2 || g["mail1"] != "paris" {
		t.Errorf("groups %v", g)
	}
}

// TestBadMember: each wrong file gets an error that names the key, and no secret.
func TestBadMember(t *testing.T) {
	for want, spoil := range map[string]func(*testing.T, *testFleet){
		"version: 2, not 1":                       func(_ *testing.T, f *testFleet) { f.member.Version = 2 },
		`fleet: "a.b" is not the name`:            func(_ *testing.T, f *testFleet) { f.member.Fleet = "a.b" },
		`host: "" is not the name`:                func(_ *testing.T, f *testFleet) { f.member.Host = "" },
		`group: "x y" is not`:                     func(_ *testing.T, f *testFleet) { f.member.Group = "x y" },
		"nkey: not the seed of a NATS user (SU…)": func(_ *testing.T, f *testFleet) { f.member.NKey = f.member.NKey[:57] },
		"key: 31 bytes, not 32":                   func(_ *testing.T, f *testFleet) { f.member.Key = f.member.Key[1:] },
		"operators: 0, not":                       func(_ *testing.T, f *testFleet) { f.member.Trust.Operators = nil },
		`operators[1].name: "ann" is not a name, or used twice`: func(_ *testing.T, f *testFleet) {
			f.member.Trust.Operators = append(f.member.Trust.Operators, f.member.Trust.Operators[0])
		},
		"operators[0].key: 0 bytes": func(_ *testing.T, f *testFleet) { f.member.Trust.Operators[0].Key = nil },
		"operators: no number":      func(_ *testing.T, f *testFleet) { f.member.Trust.Number = 0 },
		"serial: missing":           func(_ *testing.T, f *testFleet) { f.member.Serial = 0 },
		"servers: 0, not":           func(_ *testing.T, f *testFleet) { f.member.Servers = nil },
		"ca: not certificates":      func(_ *testing.T, f *testFleet) { f.member.CA = "x" },
		"that of ann, too": func(_ *testing.T, f *testFleet) {
			f.member.Trust.Operators = append(f.member.Trust.Operators, Operator{"bob", f.member.Trust.Operators[0].Key})
		},
	} {
		f := newFleet(t)
		spoil(t, f)
		name := filepath.Join(t.TempDir(), "web1.json")
		if err := f.member.Write(name); err != nil {
			t.Fatal(err)
		}
		m, err := ReadMember(name)
		if err == nil || m != nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", want, err)
		} else if strings.Contains(err.Error(), "SU"+f.member.NKey[2:10]) {
			t.Errorf("%v shows a secret", err)
		}
	}
}

// TestHostileFile: whatever is not a file of a fleet is rejected.
func TestHostileFile(t *testing.T) {
	f := newFleet(t)
	good, err := json.Marshal(f.member)
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	for want, data := range map[string][]byte{
		"EOF":                        {},
		"something follows":          append(bytes.Clone(good), "{}"...),
		"unknown field \"extra\"":    replaced(`"host":`, `"extra":1,"host":`),
		"cannot unmarshal":           replaced(`"host":"web1"`, `"host":["web1"]`),
		"illegal base64":             replaced(`"key":"`, `"key":"!`),
		"too large":                  append(bytes.Clone(good), bytes.Repeat([]byte{' '}, maxMember)...),
		"invalid character '\\x00'":  make([]byte, 100),
		"exceeded max depth":         append([]byte(`{"trust":`), bytes.Repeat([]byte(`[`), 20_000)...),
		"cannot unmarshal array":     []byte(`[]`),
		"version: 0, not 1":          []byte(`{}`),
		"cannot unmarshal number 9e": replaced(`"version":1`, `"version":9e99`),
	} {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadMember(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", want, err)
		}
		if _, err := ReadAdmin(name); err == nil {
			t.Errorf("%s: an admin file", want)
		}
	}
	if _, err := ReadMember(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
}

// TestRoster: a roster that anybody has changed is refused, and so is one of another kind, form or size.
func TestRoster(t *testing.T) {
	f := newFleet(t)
	sealed := f.sealed
	for i := range sealed.Payload {
		bad := Sealed{bytes.Clone(sealed.Payload), sealed.Signature}
		bad.Payload[i] ^= 1
		if _, err := f.open(&bad); !errors.Is(err, ErrRosterSignature) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	sign := func(payload string) Sealed {
		return Sealed{[]byte(payload), ed25519.Sign(f.operator, signed([]byte(payload)))}
	}
	p := string(sealed.Payload)
	web1, _ := json.Marshal(f.roster.Hosts["web1"])
	for want, s := range map[string]Sealed{
		"not signed":                 {sealed.Payload, ed25519.Sign(f.operator, sealed.Payload)}, // signed as something else
		"bytes, more than":           sign(strings.Repeat(" ", MaxRoster+1)),
		"form that Sign writes":      sign(strings.Replace(p, `"hosts":{`, `"hosts":{"web1":`+string(web1)+`,`, 1)), // twice
		"no serial number":           sign(strings.Replace(p, `"serial":7`, `"serial":0`, 1)),
		"cannot unmarshal":           sign(strings.Replace(p, `"serial":7`, `"serial":-1`, 1)),
		"version 3, not 1":           sign(strings.Replace(p, `"version":1`, `"version":3`, 1)),
		`host "web.1"`:               sign(strings.Replace(p, `"web1"`, `"web.1"`, 1)),
		`with group ""`:              sign(strings.Replace(p, `"berlin"`, `""`, 1)),
		"servers: 0, not 1":          sign(strings.Replace(p, `"servers":["tls://192.0.2.1:4222","tls://[2001:db8::1]:4222"]`, `"servers":[]`, 1)),
		"servers: 17, not 1":         sign(strings.Replace(p, `"servers":[`, `"servers":[`+strings.Repeat(`"tls://h:1",`, 15), 1)),
		`"nats://192.0.2.1:4222" is`: sign(strings.Replace(p, `tls://192`, `nats://192`, 1)),
		`"tls://u:p@h:1" is`:         sign(strings.Replace(p, `tls://192.0.2.1:4222`, `tls://u:p@h:1`, 1)),
		`"tls://h" is not`:           sign(strings.Replace(p, `tls://192.0.2.1:4222`, `tls://h`, 1)),
		`"tls://h:65536" is`:         sign(strings.Replace(p, `tls://192.0.2.1:4222`, `tls://h:65536`, 1)),
		"ca: not certificates":       sign(strings.Replace(p, `-----END`, `-----`, 1)),
		"wider than /16":             sign(strings.Replace(p, `192.0.2.7/32`, `0.0.0.0/0`, 1)),
		"bad bits after slash":       sign(strings.Replace(p, `192.0.2.7/32`, `192.0.2.7/x`, 1)),
		"has 0 keys":                 sign(strings.Replace(p, string(web1), `{"group":"berlin","keys":[]}`, 1)),
		"3 bytes, not 32":            sign(strings.Replace(p, string(web1), `{"group":"berlin","keys":["AAAA"]}`, 1)),
		`of fleet "other", not "sh`:  sign(strings.Replace(p, `"fleet":"shop"`, `"fleet":"other"`, 1)),
	} {
		if r, err := f.open(&s); err == nil || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	f.member.Trust.Operators = append(f.member.Trust.Operators, Operator{"bob", public(newKey(t))})
	if _, err := f.open(&sealed); err != nil {
		t.Errorf("with two operators: %v", err)
	}
	f.roster.Hosts["a b"] = f.roster.Hosts["web1"]
	if _, err := f.roster.Sign(f.operator); err == nil {
		t.Error("a wrong name was signed")
	}
}

func TestAdminFile(t *testing.T) {
	f := newFleet(t)
	a := &Admin{Version: 1, Fleet: "shop", Servers: f.roster.Servers, CA: f.roster.CA, NKey: f.member.NKey, Replicas: 3, Trust: f.member.Trust, Roster: f.sealed}
	name := filepath.Join(t.TempDir(), "admin.json")
	if err := a.Write(name); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadAdmin(name); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, %v", b, err)
	}
	for want, spoil := range map[string]func(*Admin){
		"replicas: 2, not":        func(a *Admin) { a.Replicas = 2 },
		"is not signed":           func(a *Admin) { a.Roster.Signature = nil },
		`of fleet "shop", not "x`: func(a *Admin) { a.Fleet = "x" },
		"servers: 0":              func(a *Admin) { a.Servers = nil },
	} {
		b := *a
		spoil(&b)
		if err := b.Write(name); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadAdmin(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestNKey: a pair made by NATS' own library is accepted, and a seed with any letter changed is rejected.
func TestNKey(t *testing.T) {
	const seed, want = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY", "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
	if have, err := NKeyPublic(seed); err != nil || have != want {
		t.Errorf("%s, %v", have, err)
	}
	for i := range seed {
		bad := seed[:i] + string(seed[i]^1) + seed[i+1:]
		if _, err := NKeyPublic(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	for _, bad := range []string{"", "SU", want, seed + "A", strings.ToLower(seed)} {
		if _, err := NKeyPublic(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	s, pub, err := NewNKey()
	if have, e := NKeyPublic(s); err != nil || e != nil || have != pub || pub[0] != 'U' || !strings.HasPrefix(s, "SU") {
		t.Errorf("%s → %s, %s, %v, %v", s, pub, have, err, e)
	}
}
