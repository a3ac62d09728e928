package main

import (
	"encoding/json"
	"errors"
	"io"

	"bailiff/cmd/bailiff-report/internal/deliver/mail"
	"bailiff/units/control"
)

// checkTemplates checks mail templates for `bailiff check` and prints their errors: a JSON array of control.TemplateError.
func checkTemplates(files []string, stdout io.Writer) error {
	bad := []control.TemplateError{}
	for _, f := range files {
		_, err := mail.ReadTemplate(f)
		if err == nil {
			continue
		}
		t := control.TemplateError{File: f, Error: err.Error()}
		if e := (*mail.Error)(nil); errors.As(err, &e) {
			t.Line, t.Error = e.Line, e.Text
		}
		bad = append(bad, t)
	}
	return json.NewEncoder(stdout).Encode(bad)
}
