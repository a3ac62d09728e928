package peers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// hook verifies a webhook as https://www.standardwebhooks.com requires of receivers.
func (p *Peers) hook(r *http.Request, mode string, e *Entry) reply {
	body, err := io.ReadAll(r.Body)
	e.fault(err != nil, "body: %v", err)
	e.fault(r.Header.Get("Content-Type") != "application/json", "Content-Type %q", r.Header.Get("Content-Type"))
	e.ID = r.Header.Get("webhook-id")
	stamp := r.Header.Get("webhook-timestamp")
	e.fault(e.ID == "" || strings.Trim(e.ID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "", "webhook-id %q", e.ID)
	at, err := strconv.ParseInt(stamp, 10, 64)
	e.fault(err != nil || p.now().Sub(time.Unix(at, 0)).Abs() > 5*time.Minute, "webhook-timestamp %q", stamp)
	mac := hmac.New(sha256.New, p.Secret)
	fmt.Fprintf(mac, "%s.%s.%s", e.ID, stamp, body)
	signed := false
	for _, s := range strings.Fields(r.Header.Get("webhook-signature")) {
		v, text, _ := strings.Cut(s, ",")
		sum, err := base64.StdEncoding.DecodeString(text)
		signed = signed || v == "v1" && err == nil && hmac.Equal(sum, mac.Sum(nil))
	}
	var payload struct {
		Type      string    `json:"type"`
		Version   int       `json:"version"`
		Timestamp time.Time `json:"timestamp"`
		Data      struct {
			Reports []struct {
				Address string `json:"address"`
				Jail    string `json:"jail"`
				ID      string `json:"id"`
			} `json:"reports"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &payload); err != nil {
		e.Faults = append(e.Faults, "JSON: "+err.Error())
	} else {
		e.Body = body
		e.fault(payload.Type != "ban" && payload.Type != "ban.digest", "type %q", payload.Type)
		e.fault(payload.Version != 1, "version %d", payload.Version)
		e.fault(payload.Timestamp.IsZero(), "no timestamp")
		e.fault(len(payload.Data.Reports) == 0 || payload.Type == "ban" && len(payload.Data.Reports) != 1, "%d reports", len(payload.Data.Reports))
	}
	switch {
	case !signed || mode == WrongKey:
		e.fault(mode != WrongKey, "the signature is not ours")
		return reply{http.StatusUnauthorized, nil, "signature mismatch"}
	case mode == Gone:
		return reply{http.StatusGone, nil, "nobody wants this any more"}
	case mode == Quota:
		return reply{http.StatusTooManyRequests, map[string]string{"Retry-After": "3600"}, "slow down"}
	case mode == Refuse || len(e.Faults) > 0:
		return reply{http.StatusBadRequest, nil, strings.Join(append(e.Faults, "no"), "; ")}
	}
	for _, rep := range payload.Data.Reports {
		e.Taken = append(e.Taken, rep.Address)
	}
	return reply{http.StatusAccepted, nil, "ok"}
}
