package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// reporterName is the program that makes and delivers reports. It also makes previews and checks templates for this
// command; it runs as the caller then, and reads no more than the caller may.
const reporterName = "bailiff-report"

// runReporter runs bailiff-report and returns its standard output. It prints its own errors.
func runReporter(e *cli.Env, args ...string) ([]byte, error) {
	program, err := cli.Program(reporterName)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(e.Ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, e.Err
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return nil, cli.ExitStatus(exit.ExitCode())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return out.Bytes(), nil
}

// dryRun prints what a destination would be sent about a ban, or about a test if id is empty.
func dryRun(e *cli.Env, config string, files []string, destination, id string) error {
	args := []string{"preview", "--config", config}
	for _, f := range files {
		args = append(args, "--file", f)
	}
	args = append(args, "--", destination)
	if id != "" {
		args = append(args, id)
	}
	b, err := runReporter(e, args...)
	if err != nil {
		return err
	}
	preview(e, b)
	return nil
}

// CheckTemplates checks the mail templates that a configuration names.
func CheckTemplates(e *cli.Env, c *config.Config) error {
	args, from := []string{"check-templates"}, map[string]string{}
	for i := range c.Report.Destinations {
		if d := &c.Report.Destinations[i]; d.Template != "" && from[d.Template] == "" {
			args, from[d.Template] = append(args, d.Template), d.Name
		}
	}
	if len(from) == 0 {
		return nil
	}
	b, err := runReporter(e, args...)
	if err != nil {
		return fmt.Errorf("mail templates cannot be checked: %v", err) // its exit status is not ours
	}
	var bad []control.TemplateError
	if err := json.Unmarshal(b, &bad); err != nil {
		return fmt.Errorf("mail templates cannot be checked: bailiff-report: %w", err)
	}
	var errs []error
	for _, t := range bad {
		if t.Line > 0 {
			errs = append(errs, (&diag.Error{File: t.File, Line: t.Line, Col: 1, Text: t.Error}).WithHint("bailiff.report(5) says what a template can do"))
		} else {
			errs = append(errs, &diag.Error{Path: "report.destinations." + from[t.File] + ".template", Text: t.Error})
		}
	}
	return errors.Join(errs...)
}
