package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// shape is what a call takes and answers. The rest of openapi.json comes from the servers' tables of calls, and from the types and their
// comments.
type shape struct {
	body, answer any
	summary      string
	query        string // of a call that answers, for the test
}

// lines marks an answer that is JSON lines of a type.
type lines struct{ of any }

var shapes = map[string]shape{
	"GET /v1/status":           {nil, &Status{}, "State of the daemon", ""},
	"GET /v1/bans":             {nil, &BanList{}, "Bans in force, a page at a time", "facets=true"},
	"POST /v1/bans":            {BanRequest{}, []Ban{}, "Ban by hand", ""},
	"DELETE /v1/bans":          {nil, &Removed{}, "Lift bans", ""},
	"GET /v1/allow":            {nil, []AllowEntry{}, "The allow list; with address= an AllowWhy: what allows that address", ""},
	"POST /v1/allow":           {AllowRequest{}, &AllowResult{}, "Add an entry to the allow list", ""},
	"DELETE /v1/allow":         {nil, &Removed{}, "Remove an entry that was added at run time", ""},
	"GET /v1/why":              {nil, &Why{}, "Why an address is banned, allowed or counted, with the lines of the journal", "address=192.0.2.7"},
	"GET /v1/firewall":         {nil, &Firewall{}, "Compare what the firewall holds with what it should hold", ""},
	"POST /v1/firewall/repair": {nil, &FirewallRepair{}, "Repair the firewall", ""},
	"GET /v1/events":           {nil, lines{Event{}}, "What happens, as it happens; with quiet=true without failures", ""},
	"GET /v1/history":          {nil, lines{HistoryLine{}}, "Past bans, from the audit trail in the journal", ""},
	"GET /v1/filters":          {nil, []FilterInfo{}, "The filters that the configuration names", ""},
	"GET /v1/match":            {nil, []Match{}, "Try a line on filters", "line=x"},
	"GET /v1/fleet":            {nil, &FleetStatus{}, "Bans of other hosts", ""},
	"GET /v1/lists":            {nil, &BlockLists{}, "Published block lists", ""},
	"POST /v1/fleet":           {FleetNews{}, &FleetApplied{}, "Pass on news of other hosts", ""},
	"PUT /v1/fleet/hosts":      {FleetHosts{}, &FleetHostsSet{}, "Pass on the hosts of the fleet's roster", ""},
	"POST /v1/fleet/failures":  {FleetSummaries{}, &FleetSummariesTaken{}, "Pass on what hosts say about failures, and take what this host has to say", ""},
	"GET /v1/fleet/evidence":   {nil, &FleetEvidence{}, "The lines that led to a ban, redacted; with host= those of another host, which is asked", "prefix=192.0.2.7&jail=sshd"},
	"PUT /v1/fleet/evidence":   {FleetEvidence{}, &FleetEvidence{}, "Pass on the answer of another host", ""},
	"PUT /v1/fleet/agent":      {FleetAgent{}, &FleetAgentStatus{}, "Pass on what bailiff-fleet says of itself", ""},
	"GET /v1/config":           {nil, document{kind: "text/yaml"}, "The merged configuration in use, each setting with its origin in a comment", ""},
	"POST /v1/reload":          {nil, &Reloaded{}, "Load the configuration again", ""},
	"GET /metrics":             {nil, document{}, "The daemon's metrics for Prometheus, as text or OpenMetrics", ""},

	"GET /report/metrics":    {nil, document{}, "Metrics of bailiff-report", ""},
	"GET /report/v1/status":  {nil, &ReporterStatus{}, "State of bailiff-report", ""},
	"GET /report/v1/reports": {nil, &ReportList{}, "Waiting reports", ""},
	"GET /report/v1/report":  {nil, &ReportShow{}, "One report and its deliveries", ""},
	"GET /report/v1/whois":   {nil, &Whois{}, "What the registries say about an address, from the cache or asked now; a few times a minute", "address=192.0.2.7"},
	"POST /report/v1/retry":  {ReportsRequest{}, &ReportsResult{}, "Try deliveries now", ""},
	"POST /report/v1/drop":   {ReportsRequest{}, &ReportsResult{}, "Give up deliveries", ""},
	"POST /report/v1/test":   {TestRequest{}, &TestResult{}, "Deliver a test report", ""},
}

var rights = map[right]string{
	read:   "Root, the daemon's own user and members of group bailiff may call it.",
	reload: "Root and the daemon's own user may call it.",
	admin:  "Only root may call it.",

	fleetNews: "Root and the user bailiff-fleet may call it.",
}

// TestOpenAPI holds openapi.json against the tables of calls, the types and their comments, from which it is made:
// go test ./units/control -run OpenAPI -update
func TestOpenAPI(t *testing.T) {
	o := &openAPI{t: t, comments: comments(t), schemas: map[string]any{}}
	want := o.document()
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("openapi.json")
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("openapi.json is not up to date (%v): go generate ./units/control", err)
	}
}

// TestAnswersAreAsDocumented makes each call that reads and compares the type of its answer.
func TestAnswersAreAsDocumented(t *testing.T) {
	s := NewServer(&fake{happens: make(chan Event)}, Options{})
	for path, methods := range calls {
		c, ok := methods[http.MethodGet]
		if !ok {
			continue
		}
		want := shapes["GET "+path]
		r := httptest.NewRequest(http.MethodGet, path+"?"+want.query, nil)
		v, err := c.run(s, r, r.URL.Query(), Peer{})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if _, ok := want.answer.(lines); ok {
			if _, ok := v.(streamed); !ok {
				t.Errorf("%s answers with %T", path, v)
			}
		} else if reflect.TypeOf(v) != reflect.TypeOf(want.answer) {
			t.Errorf("%s answers with %T, documented is %T", path, v, want.answer)
		}
	}
}

type openAPI struct {
	t        *testing.T
	comments map[string]string
	schemas  map[string]any
}

// comments are the comments of this package's types and fields, "Ban" and "Ban.ID".
func comments(t *testing.T) map[string]string {
	t.Helper()
	m := make(map[string]string)
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				typ := spec.(*ast.TypeSpec)
				m[typ.Name.Name] = oneParagraph(g.Doc.Text())
				st, ok := typ.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, field := range st.Fields.List {
					for _, n := range field.Names {
						m[typ.Name.Name+"."+n.Name] = oneParagraph(field.Doc.Text() + field.Comment.Text())
					}
				}
			}
		}
	}
	return m
}

func oneParagraph(s string) string { return strings.Join(strings.Fields(s), " ") }

func (o *openAPI) document() []byte {
	paths := map[string]any{}
	seen := 0
	for prefix, table := range map[string]map[string]map[string]call{"": calls, "/report": reportCalls} {
		for path, methods := range table {
			item := map[string]any{}
			for method, c := range methods {
				sh, ok := shapes[method+" "+prefix+path]
				if !ok {
					o.t.Errorf("%s %s%s is not in shapes", method, prefix, path)
					continue
				}
				seen++
				item[strings.ToLower(method)] = o.operation(&c, &sh)
			}
			paths[prefix+path] = item
		}
	}
	if seen != len(shapes) {
		o.t.Errorf("shapes has %d calls, the servers %d", len(shapes), seen)
	}
	o.ref(reflect.TypeFor[AllowWhy]())
	doc := map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "bailiff", "version": "1", "license": map[string]any{"name": "see LICENSE"},
			"description": "The control sockets. HTTP on /run/bailiff/control; what begins with /report, without that, on /run/bailiff-report/control. bailiff-web passes on calls that read, under these paths. The kernel says who calls. Unknown parameters and keys are errors. Later versions may add keys, but never change the meaning of one."},
		"servers":    []any{map[string]any{"url": "http://localhost"}},
		"paths":      paths,
		"components": map[string]any{"schemas": o.schemas},
	}
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	j.SetIndent("", " ")
	if err := j.Encode(doc); err != nil {
		o.t.Fatal(err)
	}
	return b.Bytes()
}

func (o *openAPI) operation(c *call, sh *shape) any {
	op := map[string]any{"summary": sh.summary, "description": rights[c.right]}
	var params []any
	for _, name := range c.query {
		params = append(params, map[string]any{"name": name, "in": "query", "schema": map[string]any{"type": "string"}})
	}
	if params != nil {
		op["parameters"] = params
	}
	if c.body != (sh.body != nil) {
		o.t.Errorf("%s: a body: %v", sh.summary, c.body)
	}
	if sh.body != nil {
		op["requestBody"] = map[string]any{"required": true, "content": map[string]any{"application/json": map[string]any{"schema": o.ref(reflect.TypeOf(sh.body))}}}
	}
	kind, answer := "application/json", sh.answer
	switch a := answer.(type) {
	case lines:
		kind, answer = "application/x-ndjson", a.of
	case document:
		kind, answer = cmp.Or(a.kind, "text/plain"), ""
	}
	op["responses"] = map[string]any{
		"200":     map[string]any{"description": "done", "content": map[string]any{kind: map[string]any{"schema": o.ref(reflect.TypeOf(answer))}}},
		"default": map[string]any{"description": "failed", "content": map[string]any{"application/json": map[string]any{"schema": o.ref(reflect.TypeFor[Error]())}}},
	}
	return op
}

// ref is the schema of a type: a reference, if it is a struct of this package.
func (o *openAPI) ref(t reflect.Type) map[string]any {
	if t == reflect.TypeFor[time.Time]() {
		return map[string]any{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return o.ref(t.Elem())
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": o.ref(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": o.ref(t.Elem())}
	case reflect.Struct:
		if t.PkgPath() != reflect.TypeFor[Ban]().PkgPath() {
			return map[string]any{"type": "string"} // addresses and prefixes
		}
		if o.schemas[t.Name()] == nil {
			o.schemas[t.Name()] = map[string]any{} // it may contain itself
			o.schemas[t.Name()] = o.schema(t)
		}
		return map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	}
	if t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64 {
		return map[string]any{"type": "integer"}
	}
	o.t.Errorf("what is %s in JSON?", t)
	return nil
}

func (o *openAPI) schema(t reflect.Type) any {
	properties := map[string]any{}
	var required []string
	o.fields(t, properties, &required)
	s := map[string]any{"type": "object", "properties": properties}
	if c := o.comments[t.Name()]; c != "" {
		s["description"] = c
	}
	if slices.Sort(required); len(required) > 0 {
		s["required"] = required
	}
	return s
}

func (o *openAPI) fields(t reflect.Type, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			o.fields(f.Type, properties, required)
			continue
		}
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			o.t.Errorf("%s.%s has no key", t.Name(), f.Name)
		}
		p := o.ref(f.Type)
		c := o.comments[t.Name()+"."+f.Name]
		if c != "" {
			p["description"] = c
		}
		if f.Type.Kind() == reflect.Pointer || f.Tag.Get("null") != "" {
			p = map[string]any{"anyOf": []any{p, map[string]any{"type": "null"}}}
		}
		properties[name] = p
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}
