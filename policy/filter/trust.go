package filter

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Trust decides whose entries are evidence. An entry counts if it comes
//   - from a unit (Units, Slices, Added), by one of the user ids, and by one of the executables;
//   - from a user's unit (UserUnits);
//   - from a container (Containers), through root's log driver;
//   - or, if journald does not know the unit, from root under one of Identifiers; the executable is one of Exe or not known.
//
// bailiffd(8), WHAT IS EVIDENCE, describes who could still forge an entry in each of these cases.
type Trust struct {
	Units          []string
	Slices         []string   // of template instances: system-sshd.slice
	Added          []string   // units and slices that the configuration adds; if System is set, entries of any user count there
	Containers     []string   // names or tags of containers
	UserUnits      []UserUnit // units of users' own service managers
	UIDs           []int64    // trusted user ids
	System         bool       // or ids that no person has, see isSystem
	AnyUID         bool       // or any id
	Exe            []Exe      // executables; none: any
	Identifiers    []string
	RequireMessage bool // only whole messages, no lines of a stream
}

// UserUnit is a unit of a user's own service manager.
type UserUnit struct {
	UID  uint32
	Name string
}

func (u UserUnit) String() string { return fmt.Sprintf("%d/%s", u.UID, u.Name) }

// Manager returns the system unit in which the user's units run. Its name identifies the user.
func (u UserUnit) Manager() string { return fmt.Sprintf("user@%d.service", u.UID) }

// Exe is the path of an executable. A * stands for one component of the path.
type Exe struct {
	UID  int64 // only where this user runs it; -1: any user
	Path string
}

func (x Exe) String() string {
	if x.UID < 0 {
		return x.Path
	}
	return fmt.Sprintf("%d:%s", x.UID, x.Path)
}

// deleted is appended by the kernel to the path of a running executable that was replaced, for example by an upgrade.
var deleted = []byte(" (deleted)")

func (x Exe) takes(exe []byte, uid int64) bool {
	if x.UID >= 0 && x.UID != uid {
		return false
	}
	exe, _ = bytes.CutSuffix(exe, deleted)
	i := strings.IndexByte(x.Path, '*')
	if i < 0 {
		return string(exe) == x.Path
	}
	if len(exe) < i || string(exe[:i]) != x.Path[:i] {
		return false
	}
	for j := i; j < len(x.Path); j++ {
		if x.Path[j] == '*' {
			n := bytes.IndexByte(exe[i:], '/')
			if n < 0 {
				n = len(exe) - i
			}
			if n == 0 {
				return false
			}
			i += n
			continue
		}
		if i == len(exe) || exe[i] != x.Path[j] {
			return false
		}
		i++
	}
	return i == len(exe)
}

func runBy(list []Exe, exe []byte, uid int64) bool {
	return slices.ContainsFunc(list, func(x Exe) bool { return x.takes(exe, uid) })
}

// isSystem reports whether a user id is a system user's: below 1000 (UID_MIN in login.defs(5)), or of a service with
// DynamicUser= (61184 to 65519, "Users, Groups, UIDs and GIDs on systemd Systems").
func isSystem(uid int64) bool { return uid >= 0 && uid < 1000 || uid >= 61184 && uid <= 65519 }

// verdict is the decision about an entry. Values above refused are reasons why it is not trusted.
type verdict uint8

const (
	byUnit verdict = iota
	byUserUnit
	byContainer
	byIdentifier
	refused
	noMessage    // a line of a stream, but whole messages are required
	noContainer  // a container's line, but neither the container nor all output of the unit is trusted
	noCopy       // a line that is in the journal twice
	noUnit       // another unit
	noUser       // another user
	noExe        // another executable
	noIdentifier // no unit, and not root under one of the identifiers
)

func (t *Trust) judge(e *Entry) verdict {
	switch {
	case t.RequireMessage && !e.WholeMessage:
		return noMessage
	case e.Relay == Attached:
		return noCopy
	case e.Relay == Vouched && len(t.Containers) > 0 && (contains(t.Containers, e.Container) || contains(t.Containers, e.ContainerTag)):
		return byContainer
	case len(e.UserUnit) > 0 && slices.ContainsFunc(t.UserUnits, func(u UserUnit) bool {
		return string(e.UserUnit) == u.Name && string(e.Unit) == u.Manager()
	}):
		return byUserUnit // the unit's owner can run any program there
	case len(e.Unit) == 0 && len(e.Slice) == 0:
		// journald reads the executable before the unit, and a process may end in between.
		exe := len(e.Exe) == 0 || runBy(t.Exe, e.Exe, e.UID)
		if e.UID == 0 && e.Relay == Direct && exe && contains(t.Identifiers, e.Identifier) {
			return byIdentifier
		}
		return noIdentifier
	}
	added := len(t.Added) > 0 && (contains(t.Added, e.Unit) || contains(t.Added, e.Slice))
	if !added && !contains(t.Units, e.Unit) && !contains(t.Slices, e.Slice) {
		return noUnit
	}
	anybody := t.AnyUID || added && t.System
	if e.Relay != Direct {
		if anybody && len(t.Containers) == 0 {
			return byUnit
		}
		return noContainer
	}
	if !anybody && !(t.System && isSystem(e.UID)) && !(e.UID >= 0 && slices.Contains(t.UIDs, e.UID)) {
		return noUser
	}
	if len(t.Exe) > 0 && len(e.Exe) > 0 && !runBy(t.Exe, e.Exe, e.UID) {
		return noExe
	}
	return byUnit
}

// Trusts reports whether e comes from a trusted source. It does not look at the message.
func (m *Matcher) Trusts(e *Entry) bool { return m.trust.judge(e) < refused }

func contains(list []string, b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for _, s := range list {
		if string(b) == s {
			return true
		}
	}
	return false
}

// Additions are a jail's changes to its filter's trust.
type Additions struct {
	Units      []string // and slices
	Containers []string
	UserUnits  []UserUnit
	Exe        []Exe // instead of the filter's
	AnyExe     bool  // any executable counts
}

// With returns a copy of the filter with a changed trust.
func (f *Filter) With(a Additions) *Filter {
	if len(a.Units)+len(a.Containers)+len(a.UserUnits)+len(a.Exe) == 0 && !a.AnyExe {
		return f
	}
	g := *f
	t := &g.trust
	t.Added = merged(t.Added, a.Units)
	t.Containers = merged(t.Containers, a.Containers)
	t.UserUnits = merged(t.UserUnits, a.UserUnits)
	switch {
	case a.AnyExe:
		t.Exe = nil
	case len(a.Exe) > 0:
		t.Exe = a.Exe
	}
	g.matchers = make(map[string]*Matcher, len(f.matchers))
	for mode, m := range f.matchers {
		g.matchers[mode] = &Matcher{Filter: &g, Mode: mode, trust: g.trust, lazy: m.lazy}
	}
	return &g
}

func merged[T comparable](a, b []T) []T {
	a = slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(a, x) {
			a = append(a, x)
		}
	}
	return a
}

// Names lists the trusted system units and slices.
func (t *Trust) Names() []string {
	return merged(merged(t.Units, t.Slices), t.Added)
}
