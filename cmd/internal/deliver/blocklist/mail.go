package blocklist

import (
	"errors"

	"bailiff/cmd/internal/deliver"
	"bailiff/policy/report"
)

func newMail(d *report.Destination, _ deliver.Env) (deliver.Destination, error) {
	if len(d.To) == 0 {
		return nil, errors.New("there is no recipient")
	}
	return nil, errors.New("reports to blocklist.de go over HTTP alone; write via: http")
}
