// Package operators makes the parts that keep operators from being banned, for the daemon and for `bailiff replay` alike, so
// that they decide the same.
package operators

import (
	"os"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/operator"
)

// Options are a Tracker's, as the configuration has them. Who is an operator is read in this host's /etc/passwd and
// /etc/group each time it is asked: logins are rare, and who was just put into a group, or taken out of it, has the right
// of it.
func Options(c config.Operators) operator.Options {
	return operator.Options{Grace: c.Grace, Member: func(user string, uid int64) (string, bool) {
		passwd, _ := os.ReadFile("/etc/passwd") // without it root is root all the same
		group, _ := os.ReadFile("/etc/group")
		return operator.ReadAccounts(passwd, group, c.Groups).Member(user, uid)
	}}
}

// New makes a Tracker that reads sshd's entries as the built-in filter does, whatever jails there are.
func New(c config.Operators) (*operator.Tracker, error) {
	f, err := filter.LoadBuiltin("sshd")
	if err != nil {
		return nil, err
	}
	m, err := f.Mode("")
	if err != nil {
		return nil, err
	}
	return operator.New(m, Options(c)), nil
}
