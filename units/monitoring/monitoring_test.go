// Package monitoring holds alert rules for Prometheus and a dashboard for Grafana, and tests that compare them with the metrics.
package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"bailiff/units/metrics"
)

// promtool runs Prometheus' tool. Without it the test is skipped, except in CI.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	bin, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed")
	}
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

func TestRules(t *testing.T) { promtool(t, "test", "rules", "bailiff.rules.test.yml") }

type rules struct {
	Groups []struct {
		Rules []struct{ Alert, Expr string }
	}
}

// alerts are the rules by name.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("bailiff.rules.yml")
	var r rules
	if err == nil {
		err = yaml.Unmarshal(text, &r)
	}
	if err != nil || len(r.Groups) != 1 || len(r.Groups[0].Rules) < 15 {
		t.Fatalf("%v, %+v", err, r)
	}
	m := map[string]string{}
	for _, a := range r.Groups[0].Rules {
		m[a.Alert] = a.Expr
	}
	return m
}

// TestEachRuleIsTested: each alert fires in some test.
func TestEachRuleIsTested(t *testing.T) {
	text, err := os.ReadFile("bailiff.rules.test.yml")
	var file struct {
		Tests []struct {
			Cases []struct {
				Alert string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	fires := map[string]bool{}
	for _, x := range file.Tests {
		for _, c := range x.Cases {
			fires[c.Alert] = fires[c.Alert] || len(c.Fires) > 0
		}
	}
	for name := range alerts(t) {
		if !fires[name] {
			t.Errorf("no test in which %s fires", name)
		}
	}
}

var (
	metricName = regexp.MustCompile(`\b(?:bailiff|node)_[a-z_]+`)
	byLabels   = regexp.MustCompile(`\bby \(([a-z, ]*)\)`)
	matcher    = regexp.MustCompile(`([a-z]+)=~?"`)
	legend     = regexp.MustCompile(`\{\{ ?(?:\$labels\.)?([a-z]+) ?\}\}`)
)

// check reports whether a query names only existing metrics, with labels that they have.
func check(query, text string) error {
	labels := []string{"instance", "job", "le"}
	names := metricName.FindAllString(query, -1)
	if len(names) == 0 {
		return fmt.Errorf("no metric in %s", query)
	}
	for _, name := range names {
		i := slices.IndexFunc(metrics.Families, func(f *metrics.Family) bool {
			return f.Name == name && f.Type != metrics.Histogram || f.Type == metrics.Histogram && name == f.Name+"_bucket"
		})
		switch {
		case i >= 0:
			labels = append(labels, metrics.Families[i].Labels...)
		case name == "node_textfile_mtime_seconds": // node_exporter's
			labels = append(labels, "file")
		default:
			return fmt.Errorf("there is no metric %s", name)
		}
	}
	used := matcher.FindAllStringSubmatch(query, -1)
	used = append(used, legend.FindAllStringSubmatch(text, -1)...)
	for _, m := range byLabels.FindAllStringSubmatch(query, -1) {
		for _, l := range strings.Split(m[1], ",") {
			used = append(used, []string{"", strings.TrimSpace(l)})
		}
	}
	for _, m := range used {
		if !slices.Contains(labels, m[1]) {
			return fmt.Errorf("no label %s in %s", m[1], query)
		}
	}
	return nil
}

func TestRulesNameMetrics(t *testing.T) {
	for name, expr := range alerts(t) {
		if err := check(expr, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// dashboard has the fields of Grafana's dashboards (schema version 38) that ours uses. Reading is strict, so a field in the wrong place is
// an error; Grafana would ignore it.
type dashboard struct {
	Inputs   []any                                      `json:"__inputs"`
	Requires []struct{ Type, ID, Name, Version string } `json:"__requires"`

	Title, UID, Description, Refresh, Timezone string
	Tags                                       []string
	SchemaVersion, Version, GraphTooltip       int
	Editable                                   bool
	Time                                       struct{ From, To string }
	Templating                                 struct{ List []variable }
	Annotations                                struct{ List []any }
	Links                                      []any
	Panels                                     []panel
}

type source struct{ Type, UID string }

type variable struct {
	Name, Label, Type, Definition, AllValue string
	Query                                   json.RawMessage
	Datasource                              source
	IncludeAll, Multi                       bool
	Current                                 struct{ Text, Value string }
	Options                                 []any
	Refresh, Sort, Hide                     int
}

type panel struct {
	ID                       int
	Title, Type, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []struct {
		Datasource                        source
		Expr, LegendFormat, RefID, Format string
		Instant                           bool
	}
	FieldConfig struct {
		Defaults struct {
			Unit  string
			Min   *float64
			Color *struct{ Mode string }

			Mappings []struct {
				Type    string
				Options map[string]struct{ Text string }
			}
			Thresholds *struct {
				Mode  string
				Steps []struct {
					Color string
					Value *float64
				}
			}
			Custom *struct {
				DrawStyle, ShowPoints string
				FillOpacity           int
				Stacking              *struct{ Group, Mode string }
			}
		}
		Overrides []any
	}
	Options struct {
		ColorMode, GraphMode string
		ShowHeader           bool
		ReduceOptions        *struct {
			Calcs  []string
			Fields string
			Values bool
		}
		Legend *struct {
			DisplayMode, Placement string
			ShowLegend             bool
			Calcs                  []string
		}
		Tooltip *struct{ Mode, Sort string }
	}
	Transformations []struct {
		ID      string
		Options json.RawMessage
	}
}

// units are the names by which Grafana knows those that we use: counts, counts and packets a second, seconds, shares.
var units = []string{"short", "cps", "pps", "s", "percentunit"}

// shape lists what Grafana would not show as intended.
func (p *panel) shape() (wrong []string) {
	o, d := &p.Options, &p.FieldConfig.Defaults
	for what, right := range map[string]bool{
		"unit " + d.Unit: slices.Contains(units, d.Unit),
		"overrides":      p.FieldConfig.Overrides != nil, // null breaks the panel
		"data source":    p.Datasource == source{"prometheus", "${datasource}"},
		"size":           p.GridPos.W > 0 && p.GridPos.H > 0,
		"colour":         (d.Color == nil) == (d.Thresholds == nil) && (d.Color == nil || d.Color.Mode == "thresholds" && d.Thresholds.Mode == "absolute"),
		"thresholds":     d.Thresholds == nil || len(d.Thresholds.Steps) > 1 && d.Thresholds.Steps[0].Value == nil, // the first is the base
	} {
		if !right {
			wrong = append(wrong, what)
		}
	}
	switch p.Type {
	case "stat":
		if o.ReduceOptions == nil || !slices.Equal(o.ReduceOptions.Calcs, []string{"lastNotNull"}) || o.GraphMode != "none" || !slices.Contains([]string{"none", "background"}, o.ColorMode) {
			wrong = append(wrong, "options of a stat")
		}
	case "timeseries":
		c := d.Custom
		if c == nil || c.DrawStyle != "line" || c.ShowPoints != "never" || c.Stacking != nil && (c.Stacking.Mode != "normal" || c.Stacking.Group == "") {
			wrong = append(wrong, "field options of a time series")
		}
		if l, t := o.Legend, o.Tooltip; l == nil || l.DisplayMode != "list" || l.Placement != "bottom" || !l.ShowLegend || l.Calcs == nil || t == nil || t.Mode != "multi" || t.Sort != "desc" {
			wrong = append(wrong, "options of a time series")
		}
	case "table":
		if !o.ShowHeader || p.Targets[0].Format != "table" || !p.Targets[0].Instant {
			wrong = append(wrong, "options of a table")
		}
	default:
		wrong = append(wrong, "type "+p.Type)
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if refs[q.RefID] || q.RefID == "" || q.Datasource != p.Datasource {
			wrong = append(wrong, "query "+q.RefID)
		}
		refs[q.RefID] = true
	}
	return wrong
}

// TestDashboard: Prometheus accepts each query of the dashboard, the metrics and labels exist, and no panel overlaps another.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("bailiff-dashboard.json")
	var d dashboard
	if err == nil {
		in := json.NewDecoder(bytes.NewReader(text))
		in.DisallowUnknownFields()
		err = in.Decode(&d)
	}
	if err != nil || len(d.Panels) < 15 {
		t.Fatalf("%d panels, %v", len(d.Panels), err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion != 38 || d.Time.From == "" || d.Time.To != "now" || d.Annotations.List == nil || len(d.Requires) != 2 {
		t.Errorf("%+v", d)
	}
	type recorded struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var all []recorded
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || len(p.Targets) == 0 {
			t.Fatalf("%s: id %d, %d queries", p.Title, p.ID, len(p.Targets))
		}
		ids[p.ID] = true
		if wrong := p.shape(); len(wrong) > 0 {
			t.Errorf("%s: %q", p.Title, wrong)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s: at %d, %d, where %q is", p.Title, x, y, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, q := range p.Targets {
			if err := check(q.Expr, q.LegendFormat); err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
			if !strings.Contains(q.Expr, `instance=~"$instance"`) {
				t.Errorf("%s: not of the hosts that were chosen: %s", p.Title, q.Expr)
			}
			expr := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*").Replace(q.Expr)
			all = append(all, recorded{fmt.Sprintf("panel:%d:%s", p.ID, q.RefID), expr})
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			if err := check(strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ", "+v.Name+")"), "{{"+v.Name+"}}"); err != nil {
				t.Errorf("variable %s: %v", v.Name, err)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	out, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": all}}})
	if err == nil {
		err = os.WriteFile(file, out, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

// TestCheckCanFail: a query for something that does not exist is found.
func TestCheckCanFail(t *testing.T) {
	for query, text := range map[string]string{
		`sum(bailiff_bans)`:                     "",
		`sum by (address) (bailiff_bans_total)`: "",
		`bailiff_bans_total{unit="x"}`:          "",
		`bailiff_bans_total{jail="x"}`:          "{{destination}}",
		`rate(bailiff_ban_latency_seconds[5m])`: "",
		`up == 0`:                               "",
	} {
		if check(query, text) == nil {
			t.Errorf("%s %s is taken", query, text)
		}
	}
}
