package filter

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bailiff/policy/diag"
)

// Trust says whose entries are evidence. An entry counts if it comes
//   - from a unit (Units, Slices, Added), by one of the user ids, and by one of the executables;
//   - from a user's unit (UserUnits);
//   - from a container (Containers), by way of root's log driver;
//   - or, where journald could find out neither unit nor executable, from root under one of Identifiers.
//
// bailiffd(8), WHAT IS EVIDENCE, says for each of these who could still forge it.
type Trust struct {
	Units          []string
	Slices         []string   // of template instances: system-sshd.slice
	Added          []string   // units and slices that the configuration adds; there any user counts where System is set
	Containers     []string   // names or tags of containers
	UserUnits      []UserUnit // units of users' own service managers
	UIDs           []int64    // these user ids
	System         bool       // or those that no person has
	AnyUID         bool       // or any at all
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

// Manager is the system unit that the user's units run in. Its name tells whose they are.
func (u UserUnit) Manager() string { return fmt.Sprintf("user@%d.service", u.UID) }

// Exe is an executable by its path. A * stands for one whole component of the path.
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

// deleted is what the kernel appends to the path of an executable that was replaced while it runs, as by an upgrade.
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

// isSystem says whether a user id is one that no person has: below 1000 (UID_MIN in login.defs(5)), or of a service with
// DynamicUser= (61184 to 65519, "Users, Groups, UIDs and GIDs on systemd Systems").
func isSystem(uid int64) bool { return uid >= 0 && uid < 1000 || uid >= 61184 && uid <= 65519 }

// Relay says whether an entry is a line of a container's output, and who handed it on.
type Relay uint8

const (
	Direct    Relay = iota // no: the process that is named in the entry wrote it
	Forwarded              // yes, or it claims to be: what it says of the container is worth nothing
	Vouched                // yes, and root's log driver wrote it: CONTAINER_NAME and CONTAINER_TAG are true
	Attached               // the output of podman run, whose lines conmon has written to the journal as well
)

// The log drivers that write to the journal.
var (
	conmon  = executables("/usr/bin/conmon", "/usr/sbin/conmon", "/usr/libexec/podman/conmon", "/usr/lib/podman/conmon", "/usr/local/bin/conmon", "/usr/local/libexec/podman/conmon", "/usr/local/lib/podman/conmon")
	dockerd = executables("/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/snap/docker/*/bin/dockerd")
)

func executables(list ...string) (l []Exe) {
	for _, p := range list {
		l = append(l, Exe{-1, p})
	}
	return l
}

// RelayOf tells a container's line by who wrote the entry. named says that it has a field such as CONTAINER_NAME, which
// any program may write: that makes an entry less believable, never more.
func RelayOf(comm, exe, unit []byte, uid int64, named bool) Relay {
	base := exe[bytes.LastIndexByte(exe, '/')+1:]
	base, _ = bytes.CutSuffix(base, deleted)
	is := func(name string) bool { return string(comm) == name || string(base) == name }
	driver := func(name string, at []Exe) bool {
		return uid == 0 && string(comm) == name && (len(exe) == 0 || runBy(at, exe, uid))
	}
	switch {
	case len(comm) == 0 && len(exe) == 0 && !named:
		return Direct
	case is("podman"):
		return Attached
	case named && (driver("conmon", conmon) || driver("dockerd", dockerd) && (string(unit) == "docker.service" || string(unit) == "snap.docker.dockerd.service")):
		return Vouched
	case named || is("conmon") || is("dockerd") || is("docker") || is("nerdctl"):
		return Forwarded
	}
	return Direct
}

// verdict is what Trust makes of an entry. Those above refused are the reasons why it is no evidence.
type verdict uint8

const (
	byUnit verdict = iota
	byUserUnit
	byContainer
	byIdentifier
	refused
	noMessage    // a line, where whole messages are asked for
	noContainer  // a container's line, and neither the container is named nor does the unit's whole output count
	noCopy       // a line that stands in the journal twice
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
		return byUserUnit // its owner can run any program there
	case len(e.Unit) == 0 && len(e.Slice) == 0:
		if e.UID == 0 && e.Relay == Direct && len(e.Exe) == 0 && contains(t.Identifiers, e.Identifier) {
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

// Trusts reports whether e may be evidence at all, whatever it says.
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

// Refusal is why an entry is no evidence although one of the patterns takes it and it comes from a trusted unit: what an
// administrator may have to change, or somebody's attempt to forge an entry.
type Refusal struct {
	Exe       string // this executable wrote it
	Container string // it is a line of this container
	Line      bool   // it is a line of a stream, and the filter takes whole messages only
}

// Refuses says whether an entry is no evidence only because of the executable, of a container, or because it is a line.
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

// Hint says what an administrator of a jail can do about it.
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

// NoContainers is the error of a filter that takes whole messages and is to watch a container.
func NoContainers(name string) *diag.Error {
	return diag.Errorf("filter %s takes whole messages only (require: message), since a client can put a newline into what the daemon logs; a container's log driver forwards single lines", name).
		WithHint("mount the host's /dev/log into the container, have the daemon log to syslog, and name the container's unit in units")
}

// Additions are what a jail's settings change in its filter's trust.
type Additions struct {
	Units      []string // and slices
	Containers []string
	UserUnits  []UserUnit
	Exe        []Exe // in place of the filter's
	AnyExe     bool  // any executable counts
}

// With returns the filter with another trust; f stays as it is.
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
	g.matchers = make(map[string]func() *Matcher, len(f.matchers))
	for mode, make := range f.matchers {
		g.matchers[mode] = sync.OnceValue(func() *Matcher {
			m := *make()
			m.Filter, m.trust = &g, g.trust
			return &m
		})
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

// Names lists the system's units and slices that the trust names.
func (t *Trust) Names() []string {
	return merged(merged(t.Units, t.Slices), t.Added)
}

// Why says for people why Trusts answers as it does.
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
		return "podman handed it on to its unit; the same line is in the journal by conmon"
	case noContainer:
		return fmt.Sprintf("it is a line of the output of container %q in %s; name it in the jail's containers", or(e.Container, e.Identifier), where)
	case byContainer:
		return fmt.Sprintf("container %s, by %s of root", or(e.Container, e.ContainerTag), where)
	case byUserUnit:
		return fmt.Sprintf("unit %s of the user of %s", e.UserUnit, e.Unit)
	case byIdentifier:
		return fmt.Sprintf("journald could not tell its unit; root wrote it as %s, which counts", e.Identifier)
	case noIdentifier:
		switch {
		case e.UID != 0:
			return "journald could not tell its unit, and it is not root's: _UID=" + uidText(e.UID)
		case len(t.Identifiers) == 0:
			return "journald could not tell its unit, and the filter takes no such entries"
		case e.Relay != Direct:
			return "journald could not tell its unit, and it is a line of a container's output"
		case !contains(t.Identifiers, e.Identifier):
			return fmt.Sprintf("journald could not tell its unit, and root wrote it as %q, not as one of %s", e.Identifier, strings.Join(t.Identifiers, ", "))
		}
		return fmt.Sprintf("it has no unit, but an executable: %s", e.Exe)
	case noUnit:
		return fmt.Sprintf("unit %q is none of the filter's: %s", e.Unit, strings.Join(t.Names(), ", "))
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

// users says which users' entries count.
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

// Text says for people whom a filter trusts.
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

// ParseUnit reads the name of a system unit, or of the slice of a template's instances.
func ParseUnit(s string) (string, *diag.Error) {
	switch {
	case strings.ContainsAny(s, "*?["):
		return "", diag.Errorf("%q is a pattern; the journal knows exact names only", s).WithHint("instances of name@.service are all in system-name.slice: name that slice instead")
	case !strings.Contains(s, "."):
		return "", diag.Errorf("%q is not the name of a unit", s).WithHint("write %s.service", s)
	case len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return r > '~' || r <= ' ' || r == '/' }):
		return "", diag.Errorf("%q is not the name of a unit", s).WithHint("systemctl list-units lists them; systemd-escape(1) writes other characters")
	case strings.HasSuffix(s, ".slice") && !strings.HasPrefix(s, "system-"):
		return "", diag.Errorf("%q is not the slice of a template unit", s).WithHint("instances of name@.service are in system-name.slice")
	}
	return s, nil
}

// ParseUserUnit reads UID/NAME.
func ParseUserUnit(s string) (u UserUnit, err *diag.Error) {
	uid, name, ok := strings.Cut(s, "/")
	id, bad := strconv.ParseUint(uid, 10, 32)
	if !ok || bad != nil || strconv.FormatUint(id, 10) != uid || id == 1<<32-1 {
		return u, diag.Errorf("%q is not UID/UNIT", s).WithHint("write the number of the user whose unit it is before it: 1000/app.service (id -u USER tells it)")
	}
	if strings.HasSuffix(name, ".slice") {
		return u, diag.Errorf("%q is a slice", name).WithHint("write the unit: %s/app.service", uid)
	}
	if name, err = ParseUnit(name); err != nil {
		return u, err
	}
	return UserUnit{uint32(id), name}, nil
}

// ParseContainer reads the name or the tag of a container.
func ParseContainer(s string) (string, *diag.Error) {
	switch {
	case s == "" || len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", diag.Errorf("%q is not the name or the tag of a container", s).WithHint("podman ps and docker ps list the names")
	case s[0] == '/':
		return "", diag.Errorf("%q begins with a slash, which is not part of the name", s).WithHint("write %s", s[1:])
	case strings.ContainsAny(s, "*?["):
		return "", diag.Errorf("%q is a pattern; the journal knows exact names only", s).WithHint("give the containers one tag: --log-opt tag=NAME")
	}
	return s, nil
}

// ParseExe reads PATH or UID:PATH.
func ParseExe(s string) (Exe, *diag.Error) {
	x := Exe{-1, s}
	if uid, path, ok := strings.Cut(s, ":"); ok && !strings.HasPrefix(s, "/") {
		id, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return x, diag.Errorf("%q is not a user id", uid).WithHint("write PATH, or 0:PATH for a program that only root runs")
		}
		x = Exe{int64(id), path}
	}
	if !strings.HasPrefix(x.Path, "/") || len(x.Path) > 500 {
		return x, diag.Errorf("%q is not the path of an executable", s).WithHint("write it from / on: /usr/sbin/sshd")
	}
	for _, c := range strings.Split(x.Path[1:], "/") {
		switch {
		case c == "" || c == "." || c == "..":
			return x, diag.Errorf("%q is not a path as the kernel writes it", s).WithHint("write it without . and .., double slashes and a slash at the end")
		case strings.Contains(c, "*") && c != "*":
			return x, diag.Errorf("%q: a * stands for a whole part of the path", s).WithHint("write /usr/lib/postfix/sbin/*, or each name")
		}
	}
	return x, nil
}
