package filters

import (
	"regexp"
	"strconv"
)

// syslogLine matches a line as journalctl (short, short-precise, short-iso, …), rsyslog and syslogd write it: a time, behind an
// optional <priority>, then host, identifier[pid] and message.
var syslogLine = regexp.MustCompile(`(?s)^(?:<[^>]{1,4}>)?` +
	`(?:(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) .. ..:..:..(?:\.[^ ]*)?|....-..-..[T ]..:..:..[^ ]*)` +
	` [^ ]+ ([^ ]+?)(?:\[([^ ]*)\])?: (.*)$`)

// splitSyslog splits such a line. Any other is all message.
func splitSyslog(line []byte) (msg, ident []byte, pid uint32) {
	m := syslogLine.FindSubmatch(line)
	if m == nil {
		return line, nil, 0
	}
	n, _ := strconv.ParseUint(string(m[2]), 10, 32)
	return m[3], m[1], uint32(n)
}
