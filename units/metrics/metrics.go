// Package metrics writes metrics for Prometheus, in its text format 0.0.4 and in OpenMetrics 1.0. families.go lists every
// metric of bailiff's programs; a program fills a Set with samples when somebody asks, and nothing runs in between.
//
// Labels come from the configuration, never from an attacker: no address, account or unit instance is ever one. A label value
// is escaped all the same.
//
// It is written by hand because client_golang adds 4.6 MB and 46 packages to a daemon that is 6 MB without it (net/http
// included), and VictoriaMetrics/metrics writes neither OpenMetrics nor units. The tests check what it writes with promtool and with
// the parser of Prometheus' Python library.
package metrics

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Type is the type of a metric.
type Type string

// Types. An Info has the value 1, and says what it says in its labels.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
	Info      Type = "info"
)

// Family is one metric with all its labels.
type Family struct {
	Name   string // as it is queried: a counter's ends in _total, an info's in _info
	Type   Type
	Unit   string // "seconds", "bytes" or "": the name, without _total, ends in it
	Labels []string
	Help   string // one sentence
}

// openName is the name of the family in OpenMetrics, to which samples add _total, _info, _bucket and so on.
func (f *Family) openName() string {
	switch f.Type {
	case Counter:
		return strings.TrimSuffix(f.Name, "_total")
	case Info:
		return strings.TrimSuffix(f.Name, "_info")
	}
	return f.Name
}

// Set is the samples of one moment. It is not safe for concurrent use.
type Set struct {
	samples map[*Family][]sample
}

type sample struct {
	suffix string // _bucket, _sum, _count
	labels []string
	le     float64 // of a bucket
	value  float64
}

// Add adds a sample with the values of the family's labels. Those with the same labels must be added once.
func (s *Set) Add(f *Family, value float64, labels ...string) {
	if len(labels) != len(f.Labels) {
		panic(fmt.Sprintf("%s has the labels %q, not %q", f.Name, f.Labels, labels))
	}
	s.add(f, sample{value: value, labels: labels})
}

// AddBool adds 1 or 0.
func (s *Set) AddBool(f *Family, yes bool, labels ...string) {
	v := 0.0
	if yes {
		v = 1
	}
	s.Add(f, v, labels...)
}

// AddTime adds a moment as seconds since 1970, to the microsecond; 0 is none.
func (s *Set) AddTime(f *Family, t time.Time, labels ...string) {
	v := 0.0
	if !t.IsZero() {
		v = float64(t.UnixMicro()) / 1e6
	}
	s.Add(f, v, labels...)
}

// AddHistogram adds a histogram.
func (s *Set) AddHistogram(f *Family, h *Durations) {
	count := uint64(0)
	for i := range h.counts {
		count += h.counts[i].Load()
		le := math.Inf(1)
		if i < len(h.bounds) {
			le = h.bounds[i]
		}
		s.add(f, sample{suffix: "_bucket", le: le, value: float64(count)})
	}
	s.add(f, sample{suffix: "_sum", value: time.Duration(h.sum.Load()).Seconds()})
	s.add(f, sample{suffix: "_count", value: float64(count)})
}

func (s *Set) add(f *Family, x sample) {
	if s.samples == nil {
		s.samples = make(map[*Family][]sample)
	}
	s.samples[f] = append(s.samples[f], x)
}

// Content types of the two formats.
const (
	TextType        = "text/plain; version=0.0.4; charset=utf-8"
	OpenMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// Encode writes the set in one of the two formats.
func (s *Set) Encode(openMetrics bool) []byte {
	var b bytes.Buffer
	for _, f := range s.families() {
		s.encode(&b, f, openMetrics)
	}
	if openMetrics {
		b.WriteString(end)
	}
	return b.Bytes()
}

const end = "# EOF\n"

// families are those that have samples, in the order of Families.
func (s *Set) families() (l []*Family) {
	for _, f := range Families {
		if len(s.samples[f]) > 0 {
			l = append(l, f)
		}
	}
	if len(l) != len(s.samples) {
		panic("a metric is not in Families")
	}
	return l
}

func (s *Set) encode(b *bytes.Buffer, f *Family, openMetrics bool) {
	name, kind, help := f.Name, f.Type, helpText.Replace(f.Help)
	if openMetrics {
		name, help = f.openName(), labelText.Replace(f.Help)
	} else if kind == Info {
		kind = Gauge
	}
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	if openMetrics && f.Unit != "" {
		fmt.Fprintf(b, "# UNIT %s %s\n", name, f.Unit)
	}
	if f.Type != Histogram {
		slices.SortFunc(s.samples[f], func(a, b sample) int { return slices.Compare(a.labels, b.labels) })
	}
	for _, x := range s.samples[f] {
		b.WriteString(f.Name + x.suffix)
		sep := byte('{')
		label := func(name, value string) {
			b.WriteByte(sep)
			sep = ','
			b.WriteString(name + `="` + labelText.Replace(strings.ToValidUTF8(value, "�")) + `"`)
		}
		for i, name := range f.Labels {
			label(name, x.labels[i])
		}
		if x.suffix == "_bucket" {
			label("le", bound(x.le, openMetrics))
		}
		if sep == ',' {
			b.WriteByte('}')
		}
		b.WriteByte(' ')
		b.Write(number(b.AvailableBuffer(), x.value))
		b.WriteByte('\n')
	}
}

// helpText escapes a help text in the text format; labelText escapes label values, and help texts in OpenMetrics.
var (
	helpText  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelText = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// bound is the value of the label le. In OpenMetrics it always has a point, so that 1 and 1.0 are one series.
func bound(v float64, openMetrics bool) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if openMetrics && !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// number writes integers and moments without an exponent.
func number(b []byte, v float64) []byte {
	if math.Abs(v) < 1<<53 {
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// Join joins what several programs have encoded in the same format. No two have a metric in common.
func Join(openMetrics bool, parts ...[]byte) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		b.Write(bytes.TrimSuffix(p, []byte(end)))
	}
	if openMetrics {
		b.WriteString(end)
	}
	return b.Bytes()
}

// Durations is a histogram of durations. Its methods may be called from any goroutine.
type Durations struct {
	bounds []float64 // seconds, ascending
	counts []atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// NewDurations makes a histogram with buckets up to these bounds, in seconds, and one for what is above.
func NewDurations(bounds ...float64) *Durations {
	return &Durations{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts a duration. A negative one, after the clock was set back, counts as 0.
func (h *Durations) Observe(d time.Duration) {
	d = max(d, 0)
	i, _ := slices.BinarySearch(h.bounds, d.Seconds())
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}
