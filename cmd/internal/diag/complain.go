// Package diag prints errors for an operator, the same way in every program: each of several that were joined in a
// line of its own, what can be done about it in a line that begins with "hint:" below.
package diag

import (
	"fmt"
	"io"

	"bailiff/policy/config/yamldoc"
)

// Print writes err to w in the name of a program.
func Print(w io.Writer, program string, err error) {
	for _, e := range yamldoc.Errors(err) {
		fmt.Fprintf(w, "%s: %v\n", program, e)
		if e.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", e.Hint)
		}
	}
}
