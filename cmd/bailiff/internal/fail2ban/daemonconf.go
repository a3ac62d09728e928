package fail2ban

import (
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/config"
)

// daemonConfig reads fail2ban.conf and the files that override it.
func (im *importer) daemonConfig() {
	t := ini.NewTree(im.root)
	r := &ini.Reader{Tree: t}
	r.ReadAll("fail2ban")
	im.problems = append(im.problems, r.Problems...)
	for _, o := range t.Assigned {
		switch o.Name {
		case "dbfile":
			im.notNeeded(o, "bailiff keeps its bans in /var/lib/bailiff; import --bans takes over the bans in effect")
		case "dbpurgeage":
			if im.adminFile(o.File) {
				if v, err := seconds(o.Value); err == nil && v > 0 {
					d, never := span(v)
					im.escalation.forget = config.FormatDuration(d)
					if never {
						im.escalation.forget = "forever"
					}
					im.carried(o, "escalate.forget")
					break
				}
			}
			im.notNeeded(o, "escalate.forget is 30d")
		case "dbmaxmatches":
			im.notNeeded(o, "limits.max_evidence limits the evidence of a ban")
		case "loglevel", "logtarget", "syslogsocket":
			im.notNeeded(o, "bailiff logs to the journal")
		case "socket", "pidfile":
			im.notNeeded(o, "systemd manages socket and process")
		case "allowipv6":
			if strings.TrimSpace(strings.ToLower(o.Value)) == "auto" || isTrue(o.Value) {
				im.notNeeded(o, "IPv6 is always supported")
			} else {
				im.lost(o, "IPv6 is always supported", "")
			}
		case "stacksize":
			im.notNeeded(o, "not applicable")
		}
		im.closeOption(o)
	}
	im.result.Database = "/var/lib/fail2ban/fail2ban.sqlite3"
	if o := t.Get("Definition", "dbfile"); o != nil {
		im.result.Database = strings.TrimSpace(o.Value)
	}
	if db := strings.ToLower(im.result.Database); db == "none" || db == ":memory:" {
		im.result.Database = ""
	}
}
