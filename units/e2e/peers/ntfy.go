package peers

import (
	"encoding/json"
	"io"
	"net/http"
)

// ntfy takes a message as https://docs.ntfy.sh/publish/#publish-as-json describes it.
func (p *Peers) ntfy(r *http.Request, _ string, e *Entry) reply {
	body, err := io.ReadAll(r.Body)
	var m struct {
		Topic, Title, Message string
		Priority              int
		Tags                  []string
	}
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	e.fault(err != nil, "body: %v", err)
	e.fault(r.Header.Get("Content-Type") != "application/json", "Content-Type %q", r.Header.Get("Content-Type"))
	e.fault(m.Topic == "" || m.Title == "", "no topic or no title")
	e.fault(len(m.Message) > 4096, "message of %d bytes", len(m.Message))
	e.fault(m.Priority < 1 || m.Priority > 5, "priority %d", m.Priority)
	if err != nil {
		return asJSON(400, map[string]any{"code": 40024, "http": 400, "error": "invalid request: request body must be message JSON"})
	}
	e.Body = body
	return asJSON(200, map[string]any{"id": "sPs71M8A2T", "time": p.now().Unix(), "event": "message", "topic": m.Topic})
}
