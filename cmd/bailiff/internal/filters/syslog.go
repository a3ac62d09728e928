package filters

import (
	"bytes"
	"strconv"
)

// splitSyslog splits a line as journalctl (short, short-iso, …), rsyslog and syslogd write it. A line without date and
// host is all message.
func splitSyslog(line []byte) (msg, ident []byte, pid uint32) {
	rest, ok := afterTime(line)
	if !ok {
		return line, nil, 0
	}
	// Behind the time: host, then identifier[pid]: or identifier: .
	sp := bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return line, nil, 0
	}
	rest = rest[sp+1:]
	colon := bytes.Index(rest, []byte(": "))
	if colon <= 0 || bytes.IndexByte(rest[:colon], ' ') >= 0 {
		return line, nil, 0
	}
	tag := rest[:colon]
	if i := bytes.IndexByte(tag, '['); i > 0 && tag[len(tag)-1] == ']' {
		if n, err := strconv.ParseUint(string(tag[i+1:len(tag)-1]), 10, 32); err == nil {
			pid = uint32(n)
		}
		tag = tag[:i]
	}
	return rest[colon+2:], tag, pid
}

// afterTime finds a leading "Nov 22 14:39:47 " or ISO 8601 time, behind an optional <priority>.
func afterTime(l []byte) ([]byte, bool) {
	if len(l) > 4 && l[0] == '<' {
		if i := bytes.IndexByte(l[:min(len(l), 6)], '>'); i > 0 {
			l = l[i+1:]
		}
	}
	if len(l) > 16 && l[3] == ' ' && l[6] == ' ' && l[9] == ':' && l[12] == ':' {
		if !bytes.Contains([]byte("JanFebMarAprMayJunJulAugSepOctNovDec"), l[:3]) {
			return nil, false
		}
		l = l[15:]
		if l[0] == '.' { // short-precise
			if i := bytes.IndexByte(l, ' '); i > 0 {
				l = l[i:]
			}
		}
		return l[1:], l[0] == ' '
	}
	if len(l) > 20 && l[4] == '-' && l[7] == '-' && (l[10] == 'T' || l[10] == ' ') && l[13] == ':' && l[16] == ':' {
		if i := bytes.IndexByte(l[11:], ' '); i > 0 {
			return l[11+i+1:], true
		}
	}
	return nil, false
}
