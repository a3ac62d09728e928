package filter

import (
	"strconv"
	"strings"

	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

func (l *loader) trust(n *yamldoc.Node) {
	if !l.keys(n, "trust", "units", "slices", "containers", "user_units", "uid", "exe", "identifiers", "require") {
		return
	}
	t, before := &l.f.trust, len(l.errs)
	t.Units = parsed(l, n.Get("units"), "trust.units", func(s string) (string, *diag.Error) {
		if strings.HasSuffix(s, ".slice") {
			return "", diag.Errorf("%q is a slice", s).WithHint("put it into slices")
		}
		return ParseUnit(s)
	})
	t.Slices = parsed(l, n.Get("slices"), "trust.slices", func(s string) (string, *diag.Error) {
		if !strings.HasSuffix(s, ".slice") {
			return "", diag.Errorf("%q is not the slice of a template unit", s).WithHint("instances of name@.service are in system-name.slice")
		}
		return ParseUnit(s)
	})
	t.Containers = parsed(l, n.Get("containers"), "trust.containers", ParseContainer)
	t.UserUnits = parsed(l, n.Get("user_units"), "trust.user_units", ParseUserUnit)
	t.Exe = parsed(l, n.Get("exe"), "trust.exe", ParseExe)
	t.Identifiers = l.texts(n.Get("identifiers"), "trust.identifiers")
	if len(t.Units)+len(t.Slices)+len(t.Containers)+len(t.UserUnits) == 0 && len(l.errs) == before {
		l.errorf(n, "trust", "names no units, slices, containers or user_units, so no entry would be trusted")
	}
	if t.RequireMessage = l.require(n.Get("require"), "trust.require"); t.RequireMessage && len(t.Containers) > 0 {
		e := NoContainers(l.f.Name)
		l.errorf(n.Get("containers"), "trust.containers", "%s", e.Text).Hint = e.Hint
	}
	uid := n.Get("uid")
	switch {
	case uid == nil && len(t.Units)+len(t.Slices) == 0: // root's log driver, or the user named with the unit
	case uid == nil:
		l.errorf(n, "trust", "has no uid").WithHint("write uid: 0, uid: system (below 1000, or of DynamicUser=), a list or any; a user's own program may run inside a service's unit")
	case uid.Kind == yamldoc.Scalar && uid.Value == "system":
		t.System = true
	case uid.Kind == yamldoc.Scalar && uid.Value == "any":
		t.AnyUID = true
	default:
		for _, u := range l.list(uid, "trust.uid") {
			if u.Value == "system" {
				t.System = true
				continue
			}
			v, err := strconv.ParseUint(u.Value, 10, 32)
			if err != nil {
				l.errorf(u, "trust.uid", "%q is not a user id", u.Value).WithHint("write a number, system (below 1000, or of DynamicUser=) or any")
			}
			t.UIDs = append(t.UIDs, int64(v))
		}
		if len(t.UIDs) == 0 && !t.System {
			l.errorf(uid, "trust.uid", "is empty")
		}
	}
}

// require reads require: message.
func (l *loader) require(n *yamldoc.Node, path string) bool {
	if n != nil && n.Value != "message" {
		l.errorf(n, path, "%q is not message", n.Value).WithHint("write require: message, or leave it out to accept lines of standard output too")
	}
	return n != nil
}

// ParseUnit parses the name of a system unit, or of the slice of a template's instances.
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

// ParseUserUnit parses UID/NAME.
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

// ParseContainer parses the name or the tag of a container.
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

// ParseExe parses PATH or UID:PATH.
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
