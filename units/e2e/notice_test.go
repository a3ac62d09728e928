package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bailiff/units/control"
	"bailiff/units/e2e/peers"
)

// noticeConfig sends notices to a phone.
const noticeConfig = `report: {destinations: {phone: {type: webhook, form: ntfy, url: "` + peersURL + `/a-topic", gather: 1s, events: [bans, unbans, problems]}}}
`

// notified: a phone gets notices of bans, unbans, and problems and their ends, including problems with other reports.
func (v *victim) notified(t *testing.T) {
	v.put(t, "55-notices.yaml", noticeConfig)
	v.sh(t, `bailiff check && systemctl reload bailiff.service`)
	attacker := sourceN(910)
	v.sh(t, `curl -fsS --data 'service=`+peers.Hook+`&mode=`+peers.WrongKey+`&times=1' `+peersURL+peers.ModePath)
	v.attacked(t, attacker)
	v.phoneGets(t, "banned "+attacker.String()+" (sshd)")
	v.phoneGets(t, "problem: reports to webhook")
	reporterSays[control.ReportsResult](v, t, "/v1/retry", control.ReportsRequest{Destination: "webhook"})
	v.phoneGets(t, "solved: reports to webhook")

	v.put(t, "99-wrong.yaml", "defaults: {ban_tiem: 1h}\n")
	if out, err := v.Sh(t.Context(), `systemctl reload bailiff.service`); err == nil {
		t.Errorf("a wrong configuration is loaded: %s", out)
	}
	v.phoneGets(t, "problem: configuration")
	v.sh(t, `rm /etc/bailiff/bailiff.d/99-wrong.yaml; systemctl reload bailiff.service; bailiff unban `+attacker.String())
	v.phoneGets(t, "solved: configuration")
	v.phoneGets(t, "unbanned "+attacker.String())
	v.nothingWaits(t)
	v.sh(t, `rm /etc/bailiff/bailiff.d/55-notices.yaml; systemctl reload bailiff.service`)
}

// phoneGets waits for a notice with a text in its title or message.
func (v *victim) phoneGets(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() error {
		var seen []string
		for line := range strings.Lines(v.sh(t, `curl -fsS `+peersURL+peers.LogPath)) {
			var e peers.Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return fmt.Errorf("%w in %s", err, line)
			}
			if e.Service != peers.Ntfy {
				continue
			}
			if len(e.Faults) > 0 {
				t.Fatalf("%q in %s", e.Faults, e.Body)
			}
			var m struct{ Topic, Title, Message string }
			if err := json.Unmarshal(e.Body, &m); err != nil || m.Topic != "a-topic" || !strings.Contains(m.Title, "mail.example.test: ") {
				t.Fatalf("%v, %s", err, e.Body)
			}
			if strings.Contains(m.Title+"\n"+m.Message, text) {
				return nil
			}
			seen = append(seen, m.Title)
		}
		return fmt.Errorf("no notice with %q, but %q", text, seen)
	})
}
