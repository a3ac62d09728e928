package fail2ban

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
)

// trust is a filter's section trust, as it is written to the file: the sources of lines that it accepts.
type trust struct {
	units, slices, containers, userUnits, exe, identifiers []string
	uid                                                    string
	requireMessage                                         bool // require: message
}

// isSet reports whether a source is named that cannot be forged: a unit or slice, a container, a user unit.
func (t *trust) isSet() bool {
	return len(t.units)+len(t.slices)+len(t.containers)+len(t.userUnits) > 0
}

// names lists the sources for messages.
func (t *trust) names() string {
	return strings.Join(slices.Concat(t.units, t.slices, t.containers, t.userUnits), ", ")
}

func appendNew(l *[]string, v string) {
	if v != "" && !slices.Contains(*l, v) {
		*l = append(*l, v)
	}
}

// parseJournalMatch parses a journalmatch (journalctl(1), MATCH): FIELD=value terms, of which those of one field are
// alternatives; a + or a new line begins another alternative. owner is the UID of the user whose journal is read, "" if
// unknown. lost are the parts that cannot be trusted; wider are the terms that were dropped, so that more lines are
// accepted.
func parseJournalMatch(match, owner string) (t trust, lost, wider []string) {
	t.uid = "any" // the unit identifies the service, whatever user it runs as
	var uids []string
	for _, line := range strings.Split(match, "\n") {
		for _, part := range strings.Split(" "+line+" ", " + ") {
			terms := strings.Fields(strings.NewReplacer(`"`, "", `'`, "").Replace(part))
			if len(terms) == 0 {
				continue
			}
			fields := make(map[string][]string)
			for _, term := range terms {
				if f, v, ok := strings.Cut(term, "="); ok {
					fields[f] = append(fields[f], v)
				}
			}
			text := strings.Join(terms, " ")
			units, names, user := fields["_SYSTEMD_UNIT"], fields["CONTAINER_NAME"], fields["_SYSTEMD_USER_UNIT"]
			if len(names) == 0 {
				names = fields["CONTAINER_TAG"]
			}
			accept := func(list *[]string, source string, err *diag.Error) {
				if err != nil {
					lost = append(lost, text+": "+err.Text)
					return
				}
				appendNew(list, source)
			}
			switch {
			case len(names) > 0:
				for _, n := range names {
					_, err := filter.ParseContainer(n)
					accept(&t.containers, n, err)
				}
			case len(user) > 0:
				uid := owner
				for _, f := range []string{"_SYSTEMD_OWNER_UID", "_UID"} {
					if len(fields[f]) == 1 {
						uid = fields[f][0]
					}
				}
				for _, u := range units {
					if m := userManager.FindStringSubmatch(u); m != nil {
						uid = m[1]
					}
				}
				if uid == "" || strings.Trim(uid, "0123456789") != "" {
					lost = append(lost, fmt.Sprintf("%s: the owner of the unit is not named, and any user can create one of this name", text))
					continue
				}
				for _, u := range user {
					u = uid + "/" + withSuffix(u)
					_, err := filter.ParseUserUnit(u)
					accept(&t.userUnits, u, err)
				}
			case len(fields["CONTAINER_ID"])+len(fields["CONTAINER_ID_FULL"])+len(fields["IMAGE_NAME"]) > 0:
				lost = append(lost, text+": a container's ID changes at each start, and other containers may use the image; bailiff identifies containers by name")
			case len(units) > 0:
				for _, u := range units {
					if u = withSuffix(u); u == "docker.service" || u == "containerd.service" || u == "podman.service" {
						lost = append(lost, fmt.Sprintf("%s: %s writes the lines of all containers; name the container (CONTAINER_NAME=…)", text, u))
						continue
					}
					_, err := filter.ParseUnit(u)
					accept(&t.units, u, err)
					if u == "sshd.service" {
						appendNew(&t.units, "ssh.service") // journald never writes the alias
					}
				}
				for _, v := range fields["_UID"] {
					if v != "" && strings.Trim(v, "0123456789") == "" {
						appendNew(&uids, v)
					}
				}
				for _, term := range terms {
					if f, _, _ := strings.Cut(term, "="); f != "_SYSTEMD_UNIT" && f != "_UID" {
						wider = append(wider, term)
					}
				}
			case len(fields["_SYSTEMD_SLICE"]) > 0 && strings.HasPrefix(fields["_SYSTEMD_SLICE"][0], "system-"):
				for _, s := range fields["_SYSTEMD_SLICE"] {
					_, err := filter.ParseUnit(s)
					accept(&t.slices, s, err)
				}
			default:
				for _, f := range []string{"SYSLOG_IDENTIFIER", "_COMM"} {
					for _, v := range fields[f] {
						appendNew(&t.identifiers, v)
					}
				}
				if len(fields["SYSLOG_IDENTIFIER"])+len(fields["_COMM"]) == 0 {
					lost = append(lost, text+": it names no unit")
				}
			}
		}
	}
	if len(uids) > 0 {
		t.uid = "[" + strings.Join(uids, ", ") + "]"
	}
	if !t.isSet() && len(t.identifiers) > 0 {
		lost = append(lost, fmt.Sprintf("%s: any process can have this name, and no unit is named", strings.TrimSpace(match)))
	}
	return t, lost, wider
}

var userManager = regexp.MustCompile(`^user@(\d+)\.service$`)

func withSuffix(unit string) string {
	if unit != "" && !strings.Contains(unit, ".") {
		unit += ".service"
	}
	return unit
}

// journalOwner matches the UID of the user whose journal a backend reads:
// systemd[journalfiles=/var/log/journal/*/user-1000.journal].
var journalOwner = regexp.MustCompile(`/user-(\d+)(?:@[^/,"'\]]*)?\.journal`)

func (im *importer) owner(name string) string {
	backend, _ := im.value(name, "backend")
	if m := journalOwner.FindAllStringSubmatch(backend, 2); len(m) == 1 {
		return m[0][1]
	}
	return ""
}

// builtinTrust returns the trust of a built-in filter.
func builtinTrust(name string) (t trust) {
	f, err := filter.LoadBuiltin(name)
	if err != nil {
		return t
	}
	x := f.Trust()
	t = trust{units: x.Units, slices: x.Slices, identifiers: x.Identifiers, requireMessage: x.RequireMessage}
	for _, e := range x.Exe {
		t.exe = append(t.exe, e.String())
	}
	switch ids := x.UIDs; {
	case x.AnyUID:
		t.uid = "any"
	case len(ids) == 0:
		t.uid = "system"
	default:
		list := strings.Join(strings.Fields(strings.Trim(fmt.Sprint(ids), "[]")), ", ")
		if x.System {
			list = "system, " + list
		}
		t.uid = "[" + list + "]"
	}
	return t
}

// has reports whether the trust covers a unit.
func (t *trust) has(unit string) bool {
	if slices.Contains(t.units, unit) {
		return true
	}
	name, _, ok := strings.Cut(unit, "@")
	return ok && slices.Contains(t.slices, "system-"+strings.ReplaceAll(name, "-", `\x2d`)+".slice")
}

// missingFrom returns the sources of u that t does not cover.
func (t *trust) missingFrom(u *trust) (more trust) {
	more.uid = u.uid
	for _, x := range u.units {
		if !t.has(x) && !(x == "sshd.service" && t.has("ssh.service")) {
			appendNew(&more.units, x)
		}
	}
	more.slices = slices.DeleteFunc(slices.Clone(u.slices), func(s string) bool { return slices.Contains(t.slices, s) })
	more.containers, more.userUnits = u.containers, u.userUnits
	return more
}

// builtinFor returns the built-in filter for the same service as an administrator's filter, or "". sure means that the
// built-in filter is on by default and replaces this one: the jail has its name, or the file includes the stock file. An
// administrator's filter must not displace it. Otherwise the built-in filter is the only one for the same unit, or is off by
// default.
func (im *importer) builtinFor(jail string, t *trust, def *ini.Definition) (name string, sure bool) {
	on := func(name string) bool {
		f, err := filter.LoadBuiltin(name)
		return err == nil && !f.Off
	}
	if known, _, ok := Builtin(jail); ok {
		return known, on(known)
	}
	if n := jailName(jail); slices.Contains(filter.Builtin(), n) {
		return n, on(n)
	}
	for _, file := range def.Tree.Files {
		if rest, ok := strings.CutPrefix(file, im.root+"/filter.d/"); ok && !im.adminFile(file) {
			if known, _, ok := Builtin(strings.TrimSuffix(rest, ".conf")); ok {
				return known, on(known)
			}
		}
	}
	var found []string
	for _, name := range filter.Builtin() {
		b := builtinTrust(name)
		if t.isSet() && len(t.units) > 0 && !slices.ContainsFunc(t.units, func(u string) bool { return !b.has(u) && u != "sshd.service" }) ||
			!t.isSet() && len(t.identifiers) > 0 && !slices.ContainsFunc(t.identifiers, func(i string) bool { return !slices.Contains(b.identifiers, i) }) {
			found = append(found, name)
		}
	}
	if len(found) == 1 {
		return found[0], false
	}
	return "", false
}
