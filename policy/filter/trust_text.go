package filter

import (
	"bailiff/policy/diag"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Refusal is the reason why a matching entry of a trusted unit is not trusted. Either the configuration needs a change, or somebody tried
// to forge an entry.
type Refusal struct {
	Exe       string // the executable that wrote the entry
	Container string // the container whose output it is
	Line      bool   // it is a line of a stream, and the filter requires whole messages
}

// Refuses reports whether an entry is untrusted only because of its executable or its container, or because it is not a whole message.
func (m *Matcher) Refuses(e *Entry) (why Refusal, ok bool) {
	t := &m.trust
	v := t.judge(e)
	if v == noMessage {
		lines := *t
		lines.RequireMessage, why.Line = false, true
		v = lines.judge(e)
	}
	switch {
	case v == noExe:
		why = Refusal{Exe: string(e.Exe)}
	case v == noContainer:
		why.Container = string(or(e.Container, e.Identifier))
	case v > refused || !why.Line:
		return why, false
	}
	var h Hit
	return why, m.MatchMessage(e.Message, &h)
}

// Hint describes what the administrator can do about refused entries of a jail.
func (r Refusal) Hint(jail string) string {
	switch {
	case r.Exe != "":
		return fmt.Sprintf("written by %s; if that is the daemon, add its path to jails.%s.exe", r.Exe, jail)
	case r.Line && r.Container != "":
		return fmt.Sprintf("lines of container %q; this filter takes whole messages only: have the daemon log to the host's /dev/log", r.Container)
	case r.Container != "":
		return fmt.Sprintf("lines of container %q; if that is the daemon's, add it to jails.%s.containers", r.Container, jail)
	}
	return "lines of standard output; this filter takes whole messages only: have the daemon log to syslog"
}

// NoContainers returns the error for a jail that watches a container with a filter that requires whole messages.
func NoContainers(name string) *diag.Error {
	return diag.Errorf("filter %s takes whole messages only (require: message), since a client can put a newline into what the daemon logs; a container's log driver forwards single lines", name).
		WithHint("mount the host's /dev/log into the container, have the daemon log to syslog, and name the container's unit in units")
}

// Why explains the result of Trusts.
func (m *Matcher) Why(e *Entry) string {
	t := &m.trust
	v := t.judge(e)
	where := string(e.Unit)
	if !contains(t.Units, e.Unit) && !contains(t.Added, e.Unit) {
		where += " in " + string(e.Slice)
	}
	switch v {
	case noMessage:
		if e.Relay != Direct {
			return "it is a line of a container's output, and the filter takes whole messages only"
		}
		return "it is a line of standard output, and the filter takes whole messages only"
	case noCopy:
		return "a copy from podman's unit; conmon has written the same line to the journal"
	case noContainer:
		return fmt.Sprintf("it is a line of the output of container %q in %s; name it in the jail's containers", or(e.Container, e.Identifier), where)
	case byContainer:
		return fmt.Sprintf("container %s, by %s of root", or(e.Container, e.ContainerTag), where)
	case byUserUnit:
		return fmt.Sprintf("unit %s of the user of %s", e.UserUnit, e.Unit)
	case byIdentifier:
		return fmt.Sprintf("journald does not know its unit; root wrote it as %s, which counts", e.Identifier)
	case noIdentifier:
		switch {
		case e.UID != 0:
			return "journald does not know its unit, and it is not root's: _UID=" + uidText(e.UID)
		case len(t.Identifiers) == 0:
			return "journald does not know its unit, and the filter takes no such entries"
		case e.Relay != Direct:
			return "journald does not know its unit, and it is a line of a container's output"
		case !contains(t.Identifiers, e.Identifier):
			return fmt.Sprintf("journald does not know its unit, and root wrote it as %q, not as one of %s", e.Identifier, strings.Join(t.Identifiers, ", "))
		}
		return fmt.Sprintf("journald does not know its unit, and root wrote it with %s, which the filter does not trust", e.Exe)
	case noUnit:
		return fmt.Sprintf("unit %q is not one of the filter's: %s", e.Unit, strings.Join(t.Names(), ", "))
	case noUser:
		return fmt.Sprintf("it came from %s, but by _UID=%s, and the filter trusts there %s", where, uidText(e.UID), t.users())
	case noExe:
		return fmt.Sprintf("it came from %s, but was written by %s; the filter trusts %s", where, e.Exe, joined(t.Exe))
	}
	why := fmt.Sprintf("unit %s, _UID=%s", where, uidText(e.UID))
	if len(t.Exe) > 0 && len(e.Exe) > 0 && e.Relay == Direct {
		why += fmt.Sprintf(", %s", e.Exe)
	}
	return why
}

// users describes the trusted users.
func (t *Trust) users() string {
	if t.AnyUID {
		return "any user"
	}
	var l []string
	if t.System {
		l = append(l, "system users (below 1000, or of DynamicUser=)")
	}
	for _, u := range t.UIDs {
		l = append(l, "_UID="+strconv.FormatInt(u, 10))
	}
	return strings.Join(l, " or ")
}

// Text describes the sources that a filter trusts.
func (t Trust) Text() string {
	var l []string
	if len(t.Units)+len(t.Slices) > 0 {
		l = append(l, "units "+strings.Join(append(slices.Clone(t.Units), t.Slices...), " ")+", written by "+t.users())
	}
	if len(t.Added) > 0 {
		by := ""
		if t.System {
			by = ", written by any user"
		}
		l = append(l, "units of the configuration "+strings.Join(t.Added, " ")+by)
	}
	if len(t.UserUnits) > 0 {
		l = append(l, "users' units "+joined(t.UserUnits))
	}
	if len(t.Containers) > 0 {
		l = append(l, "containers "+strings.Join(t.Containers, " "))
	}
	if len(t.Exe) > 0 {
		l = append(l, "executables "+joined(t.Exe))
	}
	if len(t.Identifiers) > 0 {
		l = append(l, "root's as "+strings.Join(t.Identifiers, " ")+" where the unit is not known")
	}
	if t.RequireMessage {
		l = append(l, "whole messages only, no lines of standard output")
	}
	return strings.Join(l, "; ")
}

func or(a, b []byte) []byte {
	if len(a) > 0 {
		return a
	}
	return b
}

func joined[T fmt.Stringer](l []T) string {
	s := make([]string, len(l))
	for i, x := range l {
		s[i] = x.String()
	}
	return strings.Join(s, " ")
}

func uidText(uid int64) string {
	if uid < 0 {
		return "(none)"
	}
	return strconv.FormatInt(uid, 10)
}
