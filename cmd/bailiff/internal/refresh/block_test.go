package refresh

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/policy/blocklist"
)

// newBlocks is a fetcher of one block list, which lies at /l.
func newBlocks(t *testing.T, p *publisher) *fetcher {
	f := newFetcher(t, p, nil)
	f.kind = blockLists
	l := blocklist.New("mine")
	l.URLs = []string{p.URL + "/l"}
	f.blocks = []blocklist.List{l}
	return f
}

// TestBlock: a block list is compacted, private addresses are left out, and a bad version keeps the last good one.
func TestBlock(t *testing.T) {
	p := publish(t)
	f := newBlocks(t, p)
	p.text("/l", `"1"`, "# bad people\n198.51.100.7\n198.51.100.0/24\n10.0.0.0/8\n203.0.113.9\n2001:db8::/32\n127.0.0.1\n")
	f.want(p, "mine: new, 3 entries\n", "")
	const good = "198.51.100.0/24 203.0.113.9/32 2001:db8::/32"
	held := func() {
		t.Helper()
		if got := f.held("mine"); got != good {
			t.Errorf("holds %q", got)
		}
	}
	held()
	if st := f.store.ReadState("mine"); st.LeftOut != 2 || st.Count != 3 {
		t.Errorf("state %+v", st)
	}
	f.want(p, "mine: waiting, 3 entries\n", "")
	f.clock = f.clock.Add(25 * time.Hour)
	p.answers()
	f.want(p, "mine: unchanged, 3 entries\n", "")
	if got := p.answers(); got != "/l 304" {
		t.Errorf("asked %s", got)
	}
	f.clock = f.clock.Add(25 * time.Hour)
	for _, c := range []struct{ text, why string }{
		{"", "is empty"},
		{"# nothing\n10.0.0.1\n", "is empty"},
		{"192.0.2.1\n", "has 1 entry, less than 50 % of the 3 that it had"},
		{"192.0.2.1\n192.0.2.2\n0.0.0.0/0\n", "%URL%/l: has 0.0.0.0/0, which is wider than /8"},
		{"192.0.2.1\n192.0.2.2\n2000::/12\n", "%URL%/l: has 2000::/12, which is wider than /16"},
		{"<html>\n<p>\n", `%URL%/l:1:1: "<html>" is not an address`},
	} {
		p.text("/l", "", c.text)
		hint := ""
		if strings.Contains(c.why, "less than") {
			hint = "hint: if that is right: bailiff lists refresh --accept mine\n"
		}
		f.want(p, "", "bailiff: block list mine: refused: "+c.why+"; keeping the previous list (3 entries)\n"+hint)
		held()
	}
	line := strings.Repeat("192.0.2.1 # x\n", 1<<16)
	p.page("/l", func(w http.ResponseWriter, r *http.Request) {
		for sent := 0; sent < 2*blocklist.MaxSize; sent += len(line) {
			if _, err := fmt.Fprint(w, line); err != nil {
				return
			}
		}
	})
	f.want(p, "", fmt.Sprintf("bailiff: block list mine: refused: %%URL%%/l: has more than %d bytes; keeping the previous list (3 entries)\n", blocklist.MaxSize))
	held()
	p.text("/l", "", "203.0.113.0/24\n")
	f.accept = []string{"mine"}
	f.want(p, "mine: new, 1 entry\n", "")
}

// TestKey: a key goes to the list's own server only, in the header that it wants.
func TestKey(t *testing.T) {
	p := publish(t)
	other := publish(t)
	f := newBlocks(t, p)
	f.blocks[0].Credential, f.blocks[0].KeyHeader, f.blocks[0].Accept = "bailiff_abuseipdb", "Key", "text/plain"
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	const missing = "credential bailiff_abuseipdb: missing: write it to /etc/bailiff/credentials/abuseipdb and pass it to bailiff-lists-refresh.service, as bailiff.yaml(5) shows under LISTS"
	f.want(p, "", "bailiff: block list mine: failed: %URL%/l: "+missing+"; no previous list\n")
	if got := p.answers(); got != "" {
		t.Errorf("asked without its key: %s", got)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), "bailiff_abuseipdb"), []byte("s3cret\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	p.page("/l", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Key") != "s3cret" || r.Header.Get("Accept") != "text/plain" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "203.0.113.1")
	})
	f.want(p, "mine: new, 1 entry\n", "")
	p.page("/l", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/l", http.StatusFound) })
	f.force = true
	f.want(p, "", "bailiff: block list mine: failed: %URL%/l: redirected to "+other.URL+"/l, which must not get the key; keeping the previous list (1 entry)\n")
	if got := other.answers(); got != "" {
		t.Errorf("the other server was asked: %s", got)
	}
}
