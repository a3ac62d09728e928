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

	"bailiff/cmd/bailiff-report/internal/report"
)

// minSecret is the smallest length of a secret, in bytes. The standard recommends 24.
const minSecret = 16

// readSecrets reads a credential with one secret a line: "whsec_" and base64, as in the standard, or any text, whose bytes are the
// secret. There are two while a receiver changes to a new one. Errors contain nothing of them.
func readSecrets(credential []byte) (all [][]byte, err error) {
	for i, line := range bytes.Split(credential, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if text, ok := bytes.CutPrefix(line, []byte("whsec_")); ok {
			if line, err = base64.StdEncoding.DecodeString(string(text)); err != nil {
				return nil, fmt.Errorf("line %d: not base64 after whsec_", i+1)
			}
		}
		if len(line) < minSecret {
			return nil, fmt.Errorf("line %d: secret has less than %d bytes", i+1, minSecret)
		}
		all = append(all, line)
	}
	if len(all) == 0 {
		return nil, errors.New("is empty")
	}
	return all, nil
}

// idOf is the webhook-id of an item. It must not contain a period, which separates the signed parts.
func idOf(item *report.Item) string { return strings.ReplaceAll(item.Key, ".", "_") }

// sign returns the headers of a delivery.
func sign(secrets [][]byte, id string, at time.Time, body []byte) map[string]string {
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
