package fail2ban

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
)

// actionKind is the purpose of an action.
type actionKind uint8

const (
	actionOther   actionKind = iota // the administrator's own commands
	actionBan                       // blocks addresses with the host's firewall
	actionForeign                   // blocks them by means that bailiff does not have
	actionReport                    // reports the ban
	actionNothing                   // does nothing
)

// action is one action of a jail, by its name and the options in brackets.
type action struct {
	name string
	kind actionKind
	def  *ini.Definition // nil: the file does not exist
}

// knownActions are fail2ban's actions, without what follows a -, and the backend that replaces them.
var knownActions = []struct {
	kind           actionKind
	backend, names string
}{
	{actionBan, "ipset", "iptables ufw shorewall apf symbiosis-blacklist-allports"},
	{actionBan, "nftables", "nftables"},
	{actionBan, "firewalld", "firewallcmd"},
	{actionForeign, "", "bsd-ipfw ipfw osx-ipfw osx-afctl pf npf ipfilter hostsdeny route cloudflare cloudflare-token netscaler nginx-block-map nsupdate"},
	{actionReport, "", "sendmail mail smtp xarf-login-attack blocklist_de abuseipdb dshield mynetwatchman complain apprise ipthreat"},
	{actionNothing, "", "dummy"},
}

// classify returns the kind of an action and, for actionBan, the backend that replaces it.
func classify(name string) (kind actionKind, backend string) {
	base := strings.TrimSuffix(name, ".py")
	for _, x := range knownActions {
		for _, known := range strings.Fields(x.names) {
			if base == known || strings.HasPrefix(base, known+"-") {
				return x.kind, x.backend
			}
		}
	}
	return actionOther, ""
}

// actions reads a jail's actions and records the outcomes of those that are not carried over.
func (im *importer) actions(name string) []action {
	v, from := im.value(name, "action")
	if from == nil {
		return nil
	}
	var list []action
	for _, w := range ini.SplitActions(v) {
		n, args, err := ini.SplitOptions(w)
		if err != nil {
			at := from
			if o := im.jails.Get(name, "banaction"); o != nil && len(o.UsedBy) > 0 && strings.TrimSpace(o.Value) == "" {
				at, err = o, fmt.Errorf("it is empty: bailiff bans with its own firewall")
			}
			im.lost(at, err.Error(), "")
			continue
		}
		a := action{name: n}
		var backend string
		a.kind, backend = classify(n)
		if !strings.HasSuffix(n, ".py") {
			if a.def, err = im.definition("action.d", n, args); err != nil {
				im.lost(im.actionOption(name, n, from), err.Error(), "")
			}
		}
		if a.def == nil {
			a.def = &ini.Definition{Tree: ini.NewTree(im.root), Args: args, Vars: args}
		}
		switch a.kind {
		case actionBan:
			im.backends[backend] = append(im.backends[backend], name)
			if base, _, _ := strings.Cut(n, "-"); slices.Contains([]string{"iptables", "nftables", "firewallcmd"}, base) {
				im.carried(from, "firewall.backend")
			} else {
				im.changed(from, "firewall.backend", fmt.Sprintf("action %s: bans are kept in bailiff's own set, not among the rules of %s", n, base))
			}
		case actionForeign:
			// noteForeign records the outcome if the jail has no other banning action
		case actionReport:
			im.addDestination(name, a, from)
		case actionNothing:
			im.notNeeded(from, "action dummy does nothing")
		case actionOther:
			im.lost(im.actionOption(name, n, from), fmt.Sprintf("action %s: bailiff runs no commands", n), "follow the bans in the journal: journalctl -f -o json -u bailiff")
		}
		for _, o := range a.def.Tree.Assigned {
			switch {
			case !im.adminFile(o.File) || o.Section == "INCLUDES" || a.kind == actionBan && o.Name == "blocktype":
			case a.kind == actionReport:
				im.lost(o, "reports have their own format", "use a template: bailiff.report(5)")
			default:
				im.lost(o, "bailiff runs no commands and uses its own firewall rules", "")
			}
		}
		list = append(list, a)
	}
	return list
}

// actionOption returns the option that makes a jail run an action, in preference banaction, in which administrators usually
// name it.
func (im *importer) actionOption(name, action string, from *ini.Option) *ini.Option {
	for _, opt := range []string{"banaction", "banaction_allports"} {
		if o := im.jails.Get(name, opt); o != nil && len(o.UsedBy) > 0 && strings.Contains(o.Value, action) {
			return o
		}
	}
	return from
}

// banOption returns the option that chooses a jail's actions.
func (im *importer) banOption(name string, acts []action) *ini.Option {
	from := im.jails.Get(name, "action")
	for _, a := range acts {
		if o := im.actionOption(name, a.name, from); o != from {
			return o
		}
	}
	return from
}

// noteForeign records that bailiff's firewall replaces an action that bailiff does not have, and returns the text of it.
func (im *importer) noteForeign(name string, acts []action) string {
	for _, a := range acts {
		if a.kind == actionForeign || a.kind == actionOther {
			why := fmt.Sprintf("bailiff's own firewall bans in place of the action %s, which bailiff does not have", a.name)
			im.changed(im.actionOption(name, a.name, im.jails.Get(name, "action")), "firewall", why)
			return why
		}
	}
	return "bailiff bans with its own firewall here"
}
