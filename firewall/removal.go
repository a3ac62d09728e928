package firewall

// Removal is what `bailiff firewall remove --json` prints, and bailiffd --remove-rules.
type Removal struct {
	Removed []RemovedObject `json:"removed"`
	Left    []RemovedObject `json:"left"` // objects that are still there
}

// RemovedObject is something in a firewall that bears bailiff's name.
type RemovedObject struct {
	Backend string `json:"backend"`
	Name    string `json:"name"`
	Why     string `json:"why,omitempty"` // why it was left
}
