// Package evidence connects the journal to the policy: it converts journal entries to filter entries, builds journal matches from the
// sources that filters trust, and encodes references to entries in eight bytes, which it resolves to cursors. It decides nothing. The
// daemon and `bailiff replay` both use it, so that they get the same results.
//
// Start reading at Convert and Matches (convert.go). refs.go makes the references, and cursors.go resolves them.
package evidence

import (
	"slices"
	"strings"

	"bailiff/journal"
	"bailiff/policy/filter"
)

// Fields are the journal fields that filters look at, in the order that Convert expects.
var Fields = []string{
	"MESSAGE", "_SYSTEMD_UNIT", "_UID", "_PID", "SYSLOG_IDENTIFIER", "_SYSTEMD_SLICE", "_TRANSPORT", "_EXE", "_COMM", "_SYSTEMD_USER_UNIT",
	"CONTAINER_NAME", "CONTAINER_TAG", "CONTAINER_ID_FULL",
}

// MaxValue is the number of bytes read of a field: one more than filters examine, so that they notice longer values.
const MaxValue = filter.MaxMessage + 1

const (
	fMessage = iota
	fUnit
	fUID
	fPID
	fIdentifier
	fSlice
	fTransport
	fExe
	fComm
	fUserUnit
	fContainer
	fContainerTag
	fContainerID
)

// Convert converts a journal entry that was read with Fields. out refers to the entry's bytes.
func Convert(e *journal.Entry, out *filter.Entry) {
	out.Message = e.Field(fMessage)
	out.Unit = e.Field(fUnit)
	out.Slice = e.Field(fSlice)
	out.Identifier = e.Field(fIdentifier)
	out.Exe = e.Field(fExe)
	out.UserUnit = e.Field(fUserUnit)
	out.Container, out.ContainerTag = e.Field(fContainer), e.Field(fContainerTag)
	out.UID = -1
	if v, ok := Number(e.Field(fUID)); ok {
		out.UID = int64(v)
	}
	named := len(out.Container)+len(out.ContainerTag)+len(e.Field(fContainerID)) > 0
	out.Relay = filter.RelayOf(e.Field(fComm), out.Exe, out.Unit, out.UID, named)
	out.WholeMessage = out.Relay == filter.Direct && whole(e.Field(fTransport))
	out.PID, _ = Number(e.Field(fPID))
	out.Boot = e.BootID
	out.Realtime = int64(e.Realtime)
}

// whole reports whether a transport carries messages instead of a stream of lines: syslog and journal do, stdout does not. A container's
// log driver also uses journal, but for what was a stream before.
func whole(transport []byte) bool {
	return string(transport) == "syslog" || string(transport) == "journal"
}

// Number reads a decimal number of at most 32 bits, as journald writes _PID and _UID.
func Number(b []byte) (uint32, bool) {
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= 1<<32-1
}

// Matches selects the entries that the matchers may trust, and those of extra, so that the journal finds them by its index.
//
// The user who wrote an entry is not part of the match; the filter checks it. A filter may accept a range of users. Besides, to match two
// fields at once, the journal must walk the lists of both, and root's list is long.
func Matches(ms []*filter.Matcher, extra ...journal.Group) journal.Matches {
	var units, groups, userUnits, containers, idents []string
	for _, m := range ms {
		t := m.Trust()
		for _, u := range t.Names() {
			if strings.HasSuffix(u, ".slice") {
				groups = append(groups, u)
			} else {
				units = append(units, u)
			}
		}
		for _, u := range t.UserUnits {
			userUnits = append(userUnits, u.Name)
		}
		containers = append(containers, t.Containers...)
		idents = append(idents, t.Identifiers...)
	}
	var all journal.Matches
	for _, f := range []struct {
		field string
		vals  []string
	}{
		{"_SYSTEMD_UNIT", units}, {"_SYSTEMD_SLICE", groups}, {"_SYSTEMD_USER_UNIT", userUnits},
		{"CONTAINER_NAME", containers}, {"CONTAINER_TAG", containers}, {"SYSLOG_IDENTIFIER", idents},
	} {
		if len(f.vals) == 0 {
			continue
		}
		slices.Sort(f.vals)
		var g journal.Group
		for _, v := range slices.Compact(f.vals) {
			g = append(g, journal.Match{Field: f.field, Value: v})
		}
		all = append(all, g)
	}
	return append(all, extra...)
}
