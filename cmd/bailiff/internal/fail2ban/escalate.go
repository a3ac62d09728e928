package fail2ban

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/config"
)

// escalation is what the options bantime.* and the jail recidive become.
type escalation struct {
	factor, max, forget, randomExtra string // as written in the file; empty: the default
}

// multipliers reads a list of numbers. It returns the last, and the ratio of successive numbers: that of the first two if exact (all are
// the same), else the geometric mean; 0 for anything else.
func multipliers(s string) (last, ratio float64, exact bool) {
	var l []float64
	for _, w := range strings.Fields(s) {
		v, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return 0, 0, false
		}
		l = append(l, v)
	}
	if len(l) < 2 {
		return 0, 0, false
	}
	last, ratio, exact = l[len(l)-1], l[1]/l[0], l[0] > 0
	for i := 2; i < len(l); i++ {
		exact = exact && l[i-1] > 0 && l[i]/l[i-1] == ratio
	}
	if !exact {
		ratio = math.Pow(last/l[0], 1/float64(len(l)-1))
	}
	return last, ratio, exact
}

// escalate carries over the options bantime.*. bailiff has one set for all jails, so those of [DEFAULT] are used.
func (im *importer) escalate() {
	e := &im.escalation
	for _, opt := range im.jails.Assigned {
		if strings.HasPrefix(opt.Name, "bantime.") && opt.Section != "DEFAULT" && im.result.Jails[opt.Section] != "" {
			im.lost(opt, "repeat offenders are tracked across all jails, with one rule", "set it under escalate, for all jails")
		}
	}
	get := func(name string) (string, *ini.Option) {
		v, o := im.value("DEFAULT", "bantime."+name)
		return strings.TrimSpace(v), o
	}
	on, from := get("increment")
	increment := isTrue(on)
	if from == nil && len(im.output) > 0 {
		im.note("fail2ban's bans all had the same length; bailiff doubles it for repeat offenders, up to 4 weeks (escalate: {factor: 1} keeps the length)")
	}
	if from != nil {
		im.carried(from, "escalate.factor")
		if e.factor == "" && increment {
			e.factor = "2"
		} else if e.factor == "" {
			e.factor = "1"
		}
	}
	for _, name := range []string{"factor", "formula", "multipliers", "maxtime", "rndtime", "overalljails"} {
		v, o := get(name)
		switch {
		case o == nil:
		case v == "":
			im.notNeeded(o, "it is empty")
		case !increment:
			im.notNeeded(o, "bantime.increment is off")
		default:
			im.escalationOption(name, v, o)
		}
	}
}

var expFormula = regexp.MustCompile(`^ban\.Time\s*\*\s*math\.exp\(float\(ban\.Count\s*\+\s*1\)\s*\*\s*banFactor\)\s*/\s*math\.exp\(1\s*\*\s*banFactor\)$`)

var stockFormula = regexp.MustCompile(`^ban\.Time\s*\*\s*\(1\s*<<\s*\(ban\.Count if ban\.Count\s*<\s*20 else 20\)\)\s*\*\s*banFactor$`)

func (im *importer) escalationOption(name, v string, o *ini.Option) {
	e := &im.escalation
	base, baseErr := seconds(im.valueText("DEFAULT", "bantime"))
	switch name {
	case "maxtime", "rndtime":
		sec, err := seconds(v)
		key := map[string]string{"maxtime": "escalate.max", "rndtime": "escalate.random_extra"}[name]
		if err != nil || sec == 0 {
			im.lost(o, fmt.Sprintf("%q is not a time", clip(v)), "write "+key)
			return
		}
		switch text := spanText(sec); {
		case name == "maxtime":
			e.max = text
		case text == "forever":
			im.lost(o, "it cannot be forever", "write "+key)
			return
		default:
			e.randomExtra = text
		}
		im.carried(o, key)
	case "overalljails":
		if isTrue(v) {
			im.carried(o, "escalate")
		} else {
			im.changed(o, "escalate", "repeat offenders are tracked across all jails")
		}
	case "factor":
		f, err := strconv.ParseFloat(v, 64)
		formula := strings.TrimSpace(im.valueText("DEFAULT", "bantime.formula"))
		switch {
		case err != nil:
			im.lost(o, fmt.Sprintf("%q is not a number", clip(v)), "write escalate.factor")
		case expFormula.MatchString(formula), f == 1:
			im.carried(o, "escalate.factor")
		default:
			im.lost(o, fmt.Sprintf("it multiplies every repeated ban by %s in addition to the growth; in bailiff a ban only grows from the previous one", v), "increase escalate.factor")
		}
	case "formula":
		switch {
		case stockFormula.MatchString(v):
			im.carried(o, "escalate.factor")
		case expFormula.MatchString(v):
			f, err := strconv.ParseFloat(strings.TrimSpace(im.valueText("DEFAULT", "bantime.factor")), 64)
			if err != nil {
				f = 1
			}
			if f = math.Exp(f); f < 1 || f > 1000 {
				im.lost(o, "its growth factor is out of range", "write escalate.factor")
				return
			}
			e.factor = strconv.FormatFloat(math.Round(f*100)/100, 'g', -1, 64)
			im.carried(o, "escalate.factor")
		default:
			im.lost(o, "custom formulas are not supported: each ban is longer than the previous one by a factor", "set escalate.factor; the default is 2")
		}
	case "multipliers":
		last, ratio, exact := multipliers(v)
		if ratio = math.Round(ratio*100) / 100; baseErr != nil || !(ratio >= 1 && ratio <= 1000) {
			im.lost(o, "not a list of increasing numbers", "write escalate.factor and escalate.max")
			return
		}
		e.factor = strconv.FormatFloat(ratio, 'g', -1, 64)
		if d, never := span(base * last); e.max == "" && !never {
			e.max = config.FormatDuration(d)
		}
		if exact {
			im.carried(o, "escalate.factor, escalate.max")
		} else {
			im.changed(o, "escalate.factor, escalate.max", "the list does not grow by a constant factor; the factor used leads from the first to the last number in the same number of steps")
		}
	}
}

func (im *importer) valueText(sec, name string) string { v, _ := im.value(sec, name); return v }

// recidive carries over the jail that watches fail2ban's own log. bailiff tracks repeat offenders itself.
func (im *importer) recidive(name string, from *ini.Option) {
	e := &im.escalation
	long, err := seconds(im.valueText(name, "bantime"))
	base, err2 := seconds(im.valueText("DEFAULT", "bantime"))
	n, err3 := strconv.Atoi(strings.TrimSpace(im.valueText(name, "maxretry")))
	if err != nil || err2 != nil || err3 != nil || n < 1 {
		im.lost(from, "jail "+name+": its times or counts are not valid", "see escalate in bailiff.yaml(5)")
		return
	}
	d, never := span(long)
	factor := 2.0
	if never {
		e.max = "forever"
	} else {
		if long > base && base > 0 {
			factor = min(max(2, math.Ceil(math.Pow(long/base, 1/float64(n)))), 1000)
		}
		e.max = config.FormatDuration(max(d, 4*7*24*time.Hour))
	}
	e.factor = strconv.FormatFloat(factor, 'g', -1, 64)
	why := fmt.Sprintf("each repeated ban lasts %s times as long as the previous one, across all jails, instead of one long ban after %d", e.factor, n)
	im.changed(from, "escalate", why)
	for _, opt := range []string{"bantime", "findtime", "maxretry"} {
		im.changed(im.jails.Local(name, opt), "escalate", why)
	}
	im.logPaths(name, "")
	if o := im.jails.Local(name, "logpath"); o != nil {
		delete(im.outcomes, o)
		im.notNeeded(o, "bailiff tracks its own bans and needs no log of them")
	}
}
