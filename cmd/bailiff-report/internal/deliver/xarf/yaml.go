package xarf

import (
	"fmt"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/safetext"
)

// schema02 is X-ARF 0.2's schema of login attacks.
const schema02 = "http://www.x-arf.org/schema/abuse_login-attack_0.1.2.json"

// yaml is report.txt of X-ARF 0.2. All values are plain scalars in YAML except IPv6 addresses and the agent, which are quoted.
func (s *Sender) yaml(x *complaint, id string) []byte {
	var b strings.Builder
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, value) }
	source := x.Address.String()
	if x.Address.Is6() {
		source = `"` + source + `"`
	}
	port := uint16(0) // required by the specification; 0 if unknown, as fail2ban writes
	if len(x.Ports) > 0 {
		port = x.Ports[0]
	}
	b.WriteString("---\n")
	field("Reported-From", s.Contact)
	field("Category", "abuse")
	field("Report-ID", id)
	field("Report-Type", "login-attack")
	field("Service", x.Service)
	field("Version", formatV02)
	field("User-Agent", `"`+strings.NewReplacer(`\`, ``, `"`, ``).Replace(safetext.Line(s.Agent, 100))+`"`)
	field("Date", x.Last.UTC().Format(time.RFC1123Z))
	field("Source-Type", "ip-address")
	field("Source", source)
	field("Port", fmt.Sprint(port))
	field("Schema-URL", schema02)
	field("Attachment", "text/plain")
	field("Occurrences", fmt.Sprint(x.Count))
	field("TLP", "green") // for those concerned, not for the public
	return []byte(b.String())
}
