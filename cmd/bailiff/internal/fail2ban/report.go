package fail2ban

// Outcomes of a setting.
const (
	Carried   = "carried"    // written to the files; To says where
	Changed   = "changed"    // carried over, but its meaning differs; Why says how
	Lost      = "lost"       // not carried over; Why says why
	NotNeeded = "not_needed" // bailiff does not need it; Why says why
	Replaced  = "replaced"   // overridden by a later file
	Part      = "part"       // only used within the values of other options
	Unused    = "unused"     // no enabled jail uses it
)

// Setting is one option in fail2ban's configuration and its outcome. If jails use the option in different ways, there is
// one Setting for each outcome.
type Setting struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // 0: the file as a whole
	Section string `json:"section,omitempty"`
	Option  string `json:"option,omitempty"`
	Value   string `json:"value"`
	Outcome string `json:"outcome"`
	To      string `json:"to,omitempty"`
	Why     string `json:"why,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Admin   bool   `json:"own"` // set by the administrator, not by a file of fail2ban's package
}

// JailReport is the outcome of one enabled jail.
type JailReport struct {
	Name       string `json:"name"`
	As         string `json:"as"`         // bailiff's name of the jail; empty: not carried over
	Filter     string `json:"filter"`     // of bailiff
	Mode       string `json:"mode"`       // empty: the filter's default
	Translated bool   `json:"translated"` // the filter was translated from fail2ban's expressions
	Taken      int    `json:"taken"`      // translated expressions
	Of         int    `json:"of"`         // all expressions of the filter
	Why        string `json:"why,omitempty"`
}

// Report lists what became of all that was read.
type Report struct {
	From     string       `json:"from"`
	Jails    []JailReport `json:"jails"`
	Settings []*Setting   `json:"settings"`
	Notes    []string     `json:"notes"`
}
