package mail

// Escape returns the text of a log line as it may stand in other forms of reports, too: as people see it in a mail.
func Escape(line []byte) string {
	s, _ := escape(line)
	return s
}
