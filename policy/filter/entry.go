package filter

import "net/netip"

// MaxMessage is how many bytes of a MESSAGE are looked at. Daemons cut their own lines well below this limit (postfix at 2,000 bytes, sshd
// at 500 after escaping); longer lines are an attacker's.
const MaxMessage = 4096

// Entry has the fields of a journal entry that a filter uses. Values are borrowed: they are valid until the reader's next step.
type Entry struct {
	Message    []byte // MESSAGE
	Unit       []byte // _SYSTEMD_UNIT; empty when the process was gone before journald looked it up
	UserUnit   []byte // _SYSTEMD_USER_UNIT, of a user's own service manager; Unit is user@UID.service then
	Slice      []byte // _SYSTEMD_SLICE, for instances such as sshd@….service
	Exe        []byte // _EXE, from the kernel; empty when the process was gone or a zombie
	Identifier []byte // SYSLOG_IDENTIFIER: chosen by the sender, never evidence by itself

	// Relay says whether the entry is a line of a container's output. Container and ContainerTag are CONTAINER_NAME and CONTAINER_TAG; they
	// are trusted only if Relay is Vouched.
	Relay        Relay
	Container    []byte
	ContainerTag []byte

	WholeMessage bool   // a whole message, not a line of output, which also ends where a client sent a newline
	UID          int64  // _UID, from the kernel; -1 when absent
	PID          uint32 // _PID, from the kernel; 0 when absent
	Boot         [16]byte
	Realtime     int64 // microseconds since 1970, UTC: the time of reception by journald
}

// Kind is the meaning of a line.
type Kind uint8

// What a line can mean.
const (
	None     Kind = iota // no pattern matches
	Failure              // evidence against Addr
	Success              // a successful login
	Context              // no evidence by itself, but contains the address or user of its connection
	Delivery             // a mail was accepted from Addr, without a login
	Void                 // the attempt was not a failure: the password could not be checked, or was right
)

func (k Kind) String() string {
	switch k {
	case Failure:
		return "failure"
	case Success:
		return "success"
	case Context:
		return "context"
	case Delivery:
		return "delivery"
	case Void:
		return "void"
	}
	return "none"
}

// Hit is what a filter found in a line. Texts are borrowed from the entry.
type Hit struct {
	Kind        Kind
	Pattern     *Pattern
	Addr        netip.Addr // unmapped, without zone; invalid when the line holds none
	Port        uint16     // source port, 0 when the line holds none
	User        []byte     // as logged: an attacker's text
	InvalidUser bool       // according to the line, the account does not exist: Pattern.Unknown
	Source      []byte     // which of several modules or databases wrote the line; nil when the line does not say
	ID          []byte     // a queue id, a session id or the address as written, which correlates lines instead of the pid
	Repeat      int        // 1, or N for "message repeated N times: [ … ]"
}
