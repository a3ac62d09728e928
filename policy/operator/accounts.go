package operator

import (
	"bytes"
	"slices"
	"strconv"
)

// Accounts knows which accounts are operators': those with uid 0, and the members of some groups.
//
// It knows only /etc/passwd and /etc/group: a static program cannot ask NSS, so an account of LDAP or SSSD counts only if
// /etc/group names it as a member.
type Accounts struct {
	uids   map[string]int64
	groups map[string]string // user → the first of the groups that makes it an operator
}

// ReadAccounts reads the text of /etc/passwd and /etc/group (passwd(5), group(5)); invalid lines are ignored. groups are
// those whose members are operators, whether /etc/group lists them or it is their primary group.
func ReadAccounts(passwd, group []byte, groups []string) *Accounts {
	a := &Accounts{uids: make(map[string]int64), groups: make(map[string]string)}
	gids := make(map[string]string) // of the groups whose members are operators, by gid
	for f := range records(group, 4) {
		name := string(f[0])
		if !slices.Contains(groups, name) {
			continue
		}
		gids[string(f[2])] = name
		for _, user := range bytes.Split(f[3], []byte(",")) {
			a.member(string(bytes.TrimSpace(user)), name)
		}
	}
	for f := range records(passwd, 7) {
		uid, err := strconv.ParseInt(string(f[2]), 10, 64)
		if err != nil || uid < 0 {
			continue
		}
		name := string(f[0])
		if _, ok := a.uids[name]; ok {
			continue // getpwnam takes the first
		}
		a.uids[name] = uid
		if g, ok := gids[string(f[3])]; ok {
			a.member(name, g)
		}
	}
	return a
}

func (a *Accounts) member(user, group string) {
	if _, ok := a.groups[user]; !ok && user != "" {
		a.groups[user] = group
	}
}

// records yields the fields of each line that has at least that many, separated by colons.
func records(text []byte, fields int) func(func([][]byte) bool) {
	return func(yield func([][]byte) bool) {
		for line := range bytes.Lines(text) {
			f := bytes.Split(bytes.TrimRight(line, "\r\n"), []byte(":"))
			// "+" and "-" begin entries of NIS.
			if len(f) < fields || len(f[0]) == 0 || bytes.ContainsAny(f[0][:1], "#+-") {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

// Member reports whether an account is an operator's, and why: "root" or "group sudo". If the uid is -1 (unknown), the
// name decides.
func (a *Accounts) Member(user string, uid int64) (why string, ok bool) {
	if uid < 0 {
		if known, ok := a.uids[user]; ok {
			uid = known
		} else if user == "root" {
			uid = 0
		}
	}
	if uid == 0 {
		return "root", true
	}
	if g, ok := a.groups[user]; ok {
		return "group " + g, true
	}
	return "", false
}
