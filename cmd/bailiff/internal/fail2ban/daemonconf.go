package fail2ban

import (
	"strings"
)

// notNeededByDaemon are options of fail2ban.conf that have no counterpart.
var notNeededByDaemon = map[string]string{
	"dbfile":       "bailiff keeps its bans in /var/lib/bailiff; import --bans takes over the bans in effect",
	"dbmaxmatches": "limits.max_evidence limits the evidence of a ban",
	"loglevel":     "bailiff logs to the journal", "logtarget": "bailiff logs to the journal", "syslogsocket": "bailiff logs to the journal",
	"socket": "systemd manages socket and process", "pidfile": "systemd manages socket and process",
	"stacksize": "not applicable",
}

// daemonConfig reads fail2ban.conf and the files that override it.
func (im *importer) daemonConfig() {
	t := im.read("fail2ban")
	for _, o := range t.Assigned {
		if why := notNeededByDaemon[o.Name]; why != "" {
			im.notNeeded(o, why)
		}
		switch o.Name {
		case "dbpurgeage":
			if im.adminFile(o.File) {
				if v, err := seconds(o.Value); err == nil && v > 0 {
					im.escalation.forget = spanText(v)
					im.carried(o, "escalate.forget")
					break
				}
			}
			im.notNeeded(o, "escalate.forget is 30d")
		case "allowipv6":
			if strings.TrimSpace(strings.ToLower(o.Value)) == "auto" || isTrue(o.Value) {
				im.notNeeded(o, "IPv6 is always supported")
			} else {
				im.lost(o, "IPv6 is always supported", "")
			}
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
