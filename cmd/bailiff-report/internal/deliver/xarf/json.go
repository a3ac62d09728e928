package xarf

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
)

// version is the version of the specification (xarf/xarf-spec, March 2026).
const version = "4.2.0"

// document is a report of XARF 4, category connection.
type document struct {
	Version   string     `json:"xarf_version"`
	ID        string     `json:"report_id"`
	Timestamp string     `json:"timestamp"`
	Reporter  contact    `json:"reporter"`
	Sender    contact    `json:"sender"`
	Source    string     `json:"source_identifier"`
	Port      uint16     `json:"source_port,omitempty"`
	Category  string     `json:"category"`
	Type      string     `json:"type"`
	Origin    string     `json:"evidence_source"`
	Evidence  []evidence `json:"evidence"`
	Tags      []string   `json:"tags,omitempty"`
	Text      string     `json:"description"`
	Protocol  string     `json:"protocol"`
	First     string     `json:"first_seen"`
	Last      string     `json:"last_seen"`

	// of login_attack
	Target   uint16 `json:"destination_port,omitempty"`
	Service  string `json:"service,omitempty"`
	Attempts int    `json:"attempt_count,omitempty"`

	// of vulnerability_scan
	Scan     string   `json:"scan_type,omitempty"`
	Targets  []uint16 `json:"targeted_ports,omitempty"`
	Services []string `json:"targeted_services,omitempty"`
	Requests int      `json:"total_requests,omitempty"`
}

type contact struct {
	Org     string `json:"org"`
	Contact string `json:"contact"`
	Domain  string `json:"domain"`
}

type evidence struct {
	Type    string `json:"content_type"`
	Text    string `json:"description"`
	Payload []byte `json:"payload"` // base64, by encoding/json
	Hash    string `json:"hash"`
	Size    int    `json:"size"`
}

// json is xarf.json. The address of this host is not in it: the reporter is the victim.
func (s *Sender) json(x *complaint, log []byte) ([]byte, error) {
	_, domain, _ := strings.Cut(s.Contact, "@")
	who := contact{safetext.Line(s.Org, 200), s.Contact, domain}
	sum := sha256.Sum256(log)
	d := document{
		Version: version, ID: uuid(x.Key), Timestamp: rfc3339(x.Last), Reporter: who, Sender: who, Source: x.Address.String(), Port: x.Source,
		Category: "connection", Type: x.Type, Origin: "automated_filter", Text: x.what(), Protocol: "tcp", First: rfc3339(x.First), Last: rfc3339(x.Last),
		Evidence: []evidence{{"text/plain", fmt.Sprintf("the last %d log lines, times in UTC", len(x.Lines)), log, "sha256:" + hex.EncodeToString(sum[:]), len(log)}},
		Tags:     []string{"service:" + x.Service},
	}
	if x.Test {
		d.Text = "This is a test; nothing of this happened. " + d.Text
	}
	switch x.Type {
	case report.VulnScan:
		d.Scan, d.Targets, d.Services, d.Requests = "web_vuln_scan", x.Ports, []string{x.Service}, x.Count
	default:
		d.Service, d.Attempts = x.Service, x.Count
		if len(x.Ports) > 0 {
			d.Target = x.Ports[0]
		}
	}
	b, err := json.MarshalIndent(d, "", "  ")
	return append(b, '\n'), err
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// uuid is in the form of version 4 (RFC 9562), as the schema requires, but made from the key, so that it is the same in every attempt.
func uuid(key string) string {
	b := sha256.Sum256([]byte("xarf " + key))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
