package exec

import (
	"cmp"
	"errors"
	"fmt"

	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// Exit statuses of sysexits.h.
const (
	usage       = 64
	noHost      = 68 // 64 to 68: the input cannot be used
	unavailable = 69
	osErr       = 71
	ioErr       = 74
	tempFail    = 75
	noPerm      = 77
	exConfig    = 78
)

// maxTries is how often a report is tried if the status does not say whether trying again helps.
const maxTries = 5

// resultOf says what the end of a program means for the item.
func resultOf(a *answer, d *config.Destination, attempt int) (report.Receipt, error) {
	says := safetext.Line(string(a.Output), httpclient.MaxText)
	if a.Error != "" {
		return report.Receipt{}, &report.Retry{Err: fmt.Errorf("%s was not started: %s", d.Command[0], safetext.Line(a.Error, httpclient.MaxText))}
	}
	text := fmt.Sprintf("%s ended with status %d", d.Command[0], a.Status)
	switch {
	case a.TimeOut:
		text = fmt.Sprintf("%s was killed because it took longer than %v", d.Command[0], d.TimeLimit)
	case a.Signal != "":
		text = fmt.Sprintf("%s was ended by a signal: %s", d.Command[0], safetext.Line(a.Signal, httpclient.MaxText))
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
		says = cmp.Or(says, "done")
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
	return report.Receipt{}, &report.Retry{Own: true, Err: err} // the content of this report may be the reason
}
