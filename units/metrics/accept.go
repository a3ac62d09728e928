package metrics

import (
	"mime"
	"strconv"
	"strings"
)

// OpenMetrics reports whether a client whose request has these Accept headers prefers OpenMetrics 1.0 to the text format. One
// that states no preference, such as curl, gets the text format.
func OpenMetrics(accept []string) bool {
	open, text := 0.0, 0.0
	for _, item := range strings.Split(strings.Join(accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		switch v := params["version"]; {
		case kind == "application/openmetrics-text" && (v == "1.0.0" || v == ""):
			open = max(open, q)
		case kind == "text/plain" && (v == "0.0.4" || v == ""):
			text = max(text, q)
		}
	}
	return open > 0 && open >= text
}
