// Package operators builds what keeps operators from being banned, in the same way for the daemon and for `bailiff replay`. Its
// only input beside the configuration is /etc/passwd and /etc/group.
package operators

import (
	"os"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/operator"
)

// Options returns the options of a Tracker. /etc/passwd and /etc/group are read each time that a user is looked up: logins are
// rare, and a change of a group takes effect at once.
func Options(c config.Operators) operator.Options {
	return operator.Options{Grace: c.Grace, Member: func(user string, uid int64) (string, bool) {
		passwd, _ := os.ReadFile("/etc/passwd") // without it, root is still root
		group, _ := os.ReadFile("/etc/group")
		return operator.ReadAccounts(passwd, group, c.Groups).Member(user, uid)
	}}
}

// New returns a Tracker that reads sshd's entries with the built-in filter, whatever jails are enabled.
func New(c config.Operators) (*operator.Tracker, error) {
	f, err := filter.LoadBuiltin(operator.Filter)
	if err != nil {
		return nil, err
	}
	m, err := f.Mode("")
	if err != nil {
		return nil, err
	}
	return operator.New(m, Options(c)), nil
}
