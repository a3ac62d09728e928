package cmd_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers says which rooms a room may import: cmd → {journal, firewall, units} → policy, and never the other way.
// units/e2e stands outside: it builds and attacks a host, and is part of no program.
var layers = map[string][]string{
	"cmd":      {"cmd", "journal", "firewall", "units", "policy"},
	"journal":  {"journal", "policy"},
	"firewall": {"firewall", "policy"},
	"units":    {"units", "policy"},
	"policy":   {"policy"},
}

// homes says where each library from outside may be imported; what is not named here may not be at all.
var homes = map[string][]string{
	"gopkg.in/yaml.v3":                     {"bailiff/policy/yamldoc"},
	"github.com/godbus/dbus/v5":            {"bailiff/firewall/firewalld", "bailiff/units/logind"},
	"github.com/vishvananda/netlink":       {"bailiff/firewall/ipset"},
	"github.com/google/nftables":           {"bailiff/firewall/blocklists", "bailiff/firewall/ipset", "bailiff/firewall/internal/nfrule", "bailiff/firewall/nftables"},
	"github.com/mdlayher/netlink":          {"bailiff/firewall/internal/request", "bailiff/firewall/internal/nfrule", "bailiff/firewall/ipset", "bailiff/firewall/nftables", "bailiff/firewall/conn", "bailiff/firewall/blocklists"},
	"github.com/coreos/go-systemd/v22":     {"bailiff/journal", "bailiff/journal/audit", "bailiff/units/activation", "bailiff/units/notify", "bailiff/units/manager"},
	"filippo.io/edwards25519":              {"bailiff/policy/fleet"},
	"github.com/nats-io/nats.go":           {"bailiff/cmd/bailiff-fleet/internal/agent", "bailiff/units/hub/login"},
	"github.com/nats-io/nkeys":             {"bailiff/units/hub/login"},
	"github.com/klauspost/compress":        {"bailiff/journal", "bailiff/journal/journaltest"},
	"github.com/pierrec/lz4/v4":            {"bailiff/journal/journaltest"},
	"github.com/ulikunitz/xz":              {"bailiff/journal", "bailiff/journal/journaltest"},
	"golang.org/x/net":                     {"bailiff/cmd/bailiff-web/internal/web"},
	"golang.org/x/sys":                     {"bailiff/journal", "bailiff/journal/audit", "bailiff/firewall", "bailiff/units", "bailiff/cmd/bailiff", "bailiff/cmd/bailiffd", "bailiff/cmd/bailiff-fleet", "bailiff/cmd/bailiff/internal/top"},
	"github.com/rogpeppe/go-internal":      {}, // tests alone
	"github.com/oschwald/maxminddb-golang": {"bailiff/cmd/internal/geo"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

// TestRooms enforces the program's structure: which packages may import which.
func TestRooms(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "bailiff/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, "bailiff/units/e2e") {
			continue
		}
		seen++
		room := strings.Split(strings.TrimPrefix(p.ImportPath, "bailiff/"), "/")[0]
		for _, i := range p.Imports {
			switch {
			case room == "policy" && slices.Contains([]string{"os", "os/exec", "syscall", "net/http"}, i):
				t.Errorf("%s imports %s: policy reads and writes nothing", p.ImportPath, i)
			case strings.HasPrefix(i, "bailiff/"):
				other := strings.Split(strings.TrimPrefix(i, "bailiff/"), "/")[0]
				if !slices.Contains(layers[room], other) {
					t.Errorf("%s imports %s: %s may import %v", p.ImportPath, i, room, layers[room])
				}
			case strings.Contains(strings.Split(i, "/")[0], "."):
				if !atHome(p.ImportPath, i) {
					t.Errorf("%s imports %s, which has its room elsewhere or none at all", p.ImportPath, i)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

func atHome(importer, library string) bool {
	for lib, rooms := range homes {
		if library != lib && !strings.HasPrefix(library, lib+"/") {
			continue
		}
		for _, r := range rooms {
			// x/sys is the system's own interface: whole rooms have it. The others belong to single packages.
			if importer == r || lib == "golang.org/x/sys" && strings.HasPrefix(importer, r+"/") {
				return true
			}
		}
	}
	return false
}

// TestOneGoroutine: packages that `make race` leaves out start no goroutine, not even in their tests.
func TestOneGoroutine(t *testing.T) {
	for _, dir := range []string{"../policy", "bailiff/internal/fail2ban", "../units/packaging"} {
		seen := 0
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || path.Ext(name) != ".go" {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			seen++
			ast.Inspect(f, func(n ast.Node) bool {
				if _, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s starts a goroutine", name)
				}
				return true
			})
			return nil
		})
		if err != nil || seen == 0 {
			t.Errorf("%s: looked at %d files: %v", dir, seen, err)
		}
	}
}

// TestReportingApart: only bailiff-report links the code that makes and delivers reports; the other programs run it or ask it.
func TestReportingApart(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "bailiff/cmd/bailiff", "bailiff/cmd/bailiffd", "bailiff/cmd/bailiff-netlink").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if strings.HasPrefix(p, "bailiff/cmd/bailiff-report") || slices.Contains([]string{"text/template", "html/template", "net/smtp"}, p) {
			t.Errorf("%s is linked into another program than bailiff-report", p)
		}
	}
}

// TestNoTLS: the programs that operators and root run talk only to sockets of this host. Package refresh belongs to bailiff-fetch.
func TestNoTLS(t *testing.T) {
	linked := func(program, symbol string) bool {
		bin := path.Join(t.TempDir(), "program")
		if out, err := exec.Command("go", "build", "-o", bin, program).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := exec.Command("go", "tool", "nm", bin).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(out), symbol)
	}
	const handshake = " crypto/tls.(*Conn).clientHandshake"
	if !linked("bailiff/cmd/bailiff/bailiff-fetch", handshake) {
		t.Error("bailiff-fetch has no TLS: what does this test look for?")
	}
	if linked("bailiff/cmd/bailiff", handshake) {
		t.Error("bailiff holds TLS, 1.5 MB: who calls http.Client? control.Send does for sockets")
	}
}

// TestTopLevel: the folders that the project was asked for, and no others.
func TestTopLevel(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "--full-name", ":/").Output()
	if err != nil {
		t.Skip("not a git checkout: ", err)
	}
	want := []string{"cmd", "firewall", "journal", "policy", "units", "go.mod", "go.sum", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", "SECURITY.md"}
	for _, f := range strings.Fields(string(out)) {
		top := strings.Split(path.Clean(f), "/")[0]
		if !slices.Contains(want, top) && !strings.HasPrefix(top, ".") {
			t.Errorf("%s does not belong at the top level", top)
		}
	}
}
