package main

import (
	"errors"
	"fmt"

	delivermail "bailiff/cmd/internal/deliver/mail"
	"bailiff/policy/config"
	"bailiff/policy/config/yamldoc"
	"bailiff/policy/report/mail"
)

// checkResult is what `bailiff check --json` prints.
type checkResult struct {
	OK      bool         `json:"ok"`
	Files   []string     `json:"files"`
	Jails   []string     `json:"jails"` // that are on
	Notices []string     `json:"notices"`
	Errors  []checkError `json:"errors"`
}

type checkError struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"`
	Error  string `json:"error"`
	Hint   string `json:"hint,omitempty"`
}

func runCheck(e *env, args []string) error {
	f := e.flags("check")
	conf := f.String("config", "", "this `file`, or what this folder holds, in place of the installed configuration")
	asJSON := f.Bool("json", false, "print JSON")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("check", rest, 0, 0); err != nil {
		return err
	}
	c, err := loadConfig(*conf)
	if err == nil {
		err = errors.Join(selfTests(c), templates(c))
	}
	r := checkResult{OK: err == nil, Files: []string{}, Jails: []string{}, Notices: []string{}, Errors: faults(err)}
	if c != nil {
		r.Files, r.Notices = append(r.Files, c.Files...), append(r.Notices, c.Notices...)
		for _, j := range c.Jails {
			if j.Enabled {
				r.Jails = append(r.Jails, j.Name)
			}
		}
	}
	if *asJSON {
		if err := printJSON(e.out, r); err != nil {
			return err
		}
		if !r.OK {
			return errSilent
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range r.Notices {
		fmt.Fprintf(e.err, "note: %s\n", n)
	}
	files := "no file, so the defaults"
	if len(r.Files) > 0 {
		files = plural(len(r.Files), "file")
	}
	fmt.Fprintf(e.out, "the configuration is good: %s, %s on\n", files, plural(len(r.Jails), "jail"))
	return nil
}

// selfTests runs the test lines that stand in the filters of the jails that are on.
func selfTests(c *config.Config) error {
	var errs []error
	done := map[string]bool{}
	for _, j := range c.Jails {
		if j.Enabled && !done[j.Filter.File] {
			done[j.Filter.File] = true
			errs = append(errs, j.Filter.SelfTest()...)
		}
	}
	return errors.Join(errs...)
}

// templates checks the layouts of mails that are the administrator's own.
func templates(c *config.Config) error {
	var errs []error
	for i := range c.Report.Destinations {
		d := &c.Report.Destinations[i]
		if d.Template == "" {
			continue
		}
		_, err := delivermail.ReadTemplate(d.Template)
		if e := new(mail.Error); errors.As(err, &e) {
			errs = append(errs, (&yamldoc.Error{File: e.File, Line: e.Line, Col: 1, Text: e.Text}).WithHint("bailiff.report(5) says what a template can do"))
		} else if err != nil {
			errs = append(errs, &yamldoc.Error{Path: "report.destinations." + d.Name + ".template", Text: err.Error()})
		}
	}
	return errors.Join(errs...)
}

// faults takes joined errors apart, each with its place.
func faults(err error) []checkError {
	l := []checkError{}
	for _, y := range yamldoc.Errors(err) {
		l = append(l, checkError{y.File, y.Line, y.Col, y.Path, y.Text, y.Hint})
	}
	return l
}
