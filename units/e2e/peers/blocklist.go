package peers

import (
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// services are those that blocklist.de distinguishes (https://www.blocklist.de/en/rbldns.html).
var services = []string{"amavis", "apacheddos", "asterisk", "badbot", "bruteforcelogin", "ftp", "imap", "ircbot", "mail", "mysql", "pop3",
	"portflood", "regbot", "rfi-attack", "sasl", "sql-injection", "ssh", "trigger-spam", "w00tw00t", "webmin"}

// form reads a body of form fields: the wanted ones, each once, and no other.
func form(r *http.Request, e *Entry, wanted ...string) url.Values {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	e.fault(kind != "application/x-www-form-urlencoded", "Content-Type %s", r.Header.Get("Content-Type"))
	err := r.ParseForm()
	e.fault(err != nil, "the form: %v", err)
	e.Form = map[string][]string{}
	for k, v := range r.PostForm {
		if k != "apikey" {
			e.Form[k] = v
		}
		e.fault(!slices.Contains(wanted, k), "unknown field %s", k)
	}
	for _, k := range wanted {
		v := r.PostForm[k]
		e.fault(len(v) != 1 || v[0] == "" || !utf8.ValidString(v[0]), "field %s must be there once, not empty, in UTF-8", k)
	}
	return r.PostForm
}

// blocklist is https://www.blocklist.de/en/httpreports.html?help. The service answers errors with a text for each field beside the status
// (seen in its own announcement of 2013-01-02).
func (p *Peers) blocklist(r *http.Request, mode string, e *Entry) reply {
	f := form(r, e, "server", "apikey", "ip", "service", "logs", "format")
	errs := map[string]string{}
	if f.Get("server") != p.Server {
		errs["server"] = "Server is unknown."
	}
	if f.Get("apikey") != p.Key || mode == WrongKey {
		errs["server"] = "API-Key stimmt nicht mit dem Server ueberein."
	}
	addr, err := netip.ParseAddr(f.Get("ip"))
	if err != nil || addr.Zone() != "" || addr.String() != f.Get("ip") {
		errs["ip"] = "No valid IP-Address."
	}
	if !slices.Contains(services, f.Get("service")) || mode == Refuse {
		errs["service"] = "Service is unknown."
	}
	logs := strings.Split(strings.TrimSuffix(f.Get("logs"), "\n"), "\n")
	for _, line := range logs {
		e.fault(line == "" || controls(line), "logs hold a line that is none: %s", line)
	}
	e.fault(!slices.ContainsFunc(logs, func(line string) bool { return strings.Contains(line, f.Get("ip")) }), "no line of the logs names the address")
	e.fault(f.Get("format") != "json", "format %s", f.Get("format"))
	if len(errs) == 0 && len(e.Faults) > 0 {
		errs["logs"] = strings.Join(e.Faults, "; ")
	}
	if mode == Quota {
		return reply{429, map[string]string{"Retry-After": "3600"}, "slow down"}
	}
	if len(errs) > 0 {
		return asJSON(http.StatusBadRequest, map[string]any{"status": "error", "error": errs})
	}
	e.Taken = []string{addr.String()}
	return asJSON(http.StatusOK, map[string]any{"status": "success", "error": 0})
}
