package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver/web"
	"bailiff/cmd/bailiff-report/internal/report"
)

// minSecret is how long a secret must be at least: what cannot be guessed. The standard wants 24 bytes.
const minSecret = 16

// Secrets reads a credential: one secret a line, each "whsec_" and base64 as the standard has it, or any text, whose bytes
// are the secret then. While receivers change to a new one there are two. Errors hold nothing of them.
func Secrets(credential []byte) (all [][]byte, err error) {
	for i, line := range bytes.Split(credential, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if text, ok := bytes.CutPrefix(line, []byte("whsec_")); ok {
			if line, err = base64.StdEncoding.DecodeString(string(text)); err != nil {
				return nil, fmt.Errorf("line %d is no base64 behind whsec_", i+1)
			}
		}
		if len(line) < minSecret {
			return nil, fmt.Errorf("line %d holds a secret of less than %d bytes", i+1, minSecret)
		}
		all = append(all, line)
	}
	if len(all) == 0 {
		return nil, errors.New("is empty")
	}
	return all, nil
}

// ID is the webhook-id of an item. It must have no full stop, which parts what is signed.
func ID(item *report.Item) string { return strings.ReplaceAll(item.Key, ".", "_") }

// Sign returns the headers of a delivery at that time.
func Sign(secrets [][]byte, id string, at time.Time, body []byte) map[string]string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	var signatures []string
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return map[string]string{"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": strings.Join(signatures, " ")}
}

// Judge reads what the receiver answers.
func Judge(a *web.Answer, host string, now time.Time) (report.Receipt, error) {
	if err := a.Err(host, a.Text(), now); err != nil {
		return report.Receipt{}, err
	}
	return report.Receipt{Answer: strings.TrimSuffix(fmt.Sprintf("%d, %s", a.Status, a.Text()), ", ")}, nil
}
