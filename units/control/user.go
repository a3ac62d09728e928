package control

import (
	"net/http"
	"os/user"
	"strconv"
	"strings"
)

// userName is the name of a user, or the number where it has none.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if uid == 0 {
		return "root"
	}
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// userHeader names the user for whom a program running as root makes a call.
const userHeader = "Bailiff-User"

// maxUser is the longest name in userHeader, in bytes; the longest of a Linux account has 32.
const maxUser = 64

// onBehalf is the name of a caller for the audit trail, with that of the user for whom it acts.
func onBehalf(by Peer, name string) (string, error) {
	switch {
	case name == "" || name == by.User:
		return by.User, nil
	case by.UID != 0:
		return "", &Error{Status: http.StatusForbidden, Message: "only root may make calls for others", Hint: "leave out the header " + userHeader}
	case len(name) > maxUser || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", BadRequest("a name of printable characters, 64 at most", "header %s: %.80q", userHeader, name)
	}
	return name + " (as " + by.User + ")", nil
}
