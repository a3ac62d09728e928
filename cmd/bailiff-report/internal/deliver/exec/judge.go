package exec

import (
	"errors"
	"fmt"

	"bailiff/cmd/bailiff-report/internal/deliver/web"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// Exit statuses of sysexits.h, which is where mail systems and their programs agree on what failed.
const (
	usage       = 64
	noHost      = 68 // between them: what it was given cannot be used
	unavailable = 69
	osErr       = 71
	ioErr       = 74
	tempFail    = 75
	noPerm      = 77
	exConfig    = 78
)

// maxTries is how often a program may fail in a way that says nothing of whether it can get better.
const maxTries = 5

// judge says what a program's end means for the item.
func judge(a *answer, d *config.Destination, attempt int) (report.Receipt, error) {
	says := safetext.Line(string(a.Output), web.MaxText)
	if a.Error != "" {
		return report.Receipt{}, &report.Retry{Err: fmt.Errorf("%s was not started: %s", d.Command[0], safetext.Line(a.Error, web.MaxText))}
	}
	text := fmt.Sprintf("%s ended with status %d", d.Command[0], a.Status)
	switch {
	case a.TimeOut:
		text = fmt.Sprintf("%s was killed since it took longer than %v", d.Command[0], d.TimeLimit)
	case a.Signal != "":
		text = fmt.Sprintf("%s was ended by a signal: %s", d.Command[0], safetext.Line(a.Signal, web.MaxText))
	}
	if says != "" {
		text += ": " + says
	}
	err := errors.New(text)
	switch {
	case a.TimeOut:
		return report.Receipt{}, &report.Retry{Err: err}
	case a.Signal != "":
	case a.Status == 0:
		if says == "" {
			says = "done"
		}
		return report.Receipt{Answer: says}, nil
	case a.Status == tempFail, a.Status == unavailable, a.Status == osErr, a.Status == ioErr:
		return report.Receipt{}, &report.Retry{Err: err}
	case a.Status >= usage && a.Status <= noHost:
		return report.Receipt{}, &report.Refused{Err: err}
	case a.Status == noPerm, a.Status == exConfig:
		return report.Receipt{}, &report.Refused{All: true, Err: err}
	}
	if attempt >= maxTries {
		return report.Receipt{}, &report.Refused{Err: fmt.Errorf("%w; that was attempt %d", err, attempt)}
	}
	return report.Receipt{}, &report.Retry{Own: true, Err: err} // it may be what this report holds
}
