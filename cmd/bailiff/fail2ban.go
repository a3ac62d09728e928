package main

import (
	"cmp"
	"strings"
)

// fromFail2ban names our command for what was typed at fail2ban-client, "" if there is none. bailiff(1) has the same as a
// table.
func fromFail2ban(args []string) string {
	ours := ""
	word := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	rest := func(i int) string { return strings.Join(args[min(i, len(args)):], " ") }
	switch word(0) {
	case "banip":
		ours = "bailiff ban " + cmp.Or(rest(1), "ADDRESS")
	case "unbanip":
		ours = "bailiff unban " + cmp.Or(rest(1), "ADDRESS")
	case "banned":
		ours = "bailiff bans " + rest(1)
	case "unban":
		if word(1) == "all" {
			ours = "bailiff unban --all"
		}
	case "status":
		if jail := word(1); jail != "" && !strings.HasPrefix(jail, "-") {
			ours = "bailiff bans --jail " + jail
		}
	case "reload", "restart":
		if word(0) == "reload" || len(args) > 1 {
			ours = "bailiff reload (it reloads all jails)"
		} else {
			ours = "systemctl restart bailiff"
		}
	case "start", "stop":
		ours = "systemctl " + word(0) + " bailiff; one jail is switched off in the configuration: jails: {NAME: {enabled: false}}"
	case "ping":
		ours = "systemctl is-active bailiff"
	case "-t", "--test":
		ours = "bailiff check"
	case "-d", "--dump":
		ours = "bailiff config"
	case "add":
		ours = "a jail in the configuration: jails: {NAME: {}}, then bailiff reload"
	case "get":
		ours = fromGet(cmp.Or(word(1), "JAIL"), word(2))
	case "set":
		ours = fromSet(cmp.Or(word(1), "JAIL"), word(2), cmp.Or(rest(3), "ADDRESS"))
	}
	if ours = strings.TrimSpace(ours); ours == "" {
		return ""
	}
	return "fail2ban's " + strings.Join(args[:min(len(args), 3)], " ") + " is here: " + ours
}

// fromGet is for `get JAIL what`.
func fromGet(jail, what string) string {
	switch what {
	case "banip", "banned":
		return "bailiff bans --jail " + jail
	case "ignoreip":
		return "bailiff allow"
	case "failregex", "ignoreregex", "journalmatch":
		return "bailiff filter show " + jail
	}
	return "bailiff config"
}

// fromSet is for `set JAIL what VALUE`.
func fromSet(jail, what, value string) string {
	switch what {
	case "banip":
		return "bailiff ban --jail " + jail + " " + value
	case "unbanip":
		return "bailiff unban --jail " + jail + " " + value
	case "addignoreip":
		return "bailiff allow " + value
	case "delignoreip":
		return "bailiff allow remove " + value
	}
	return "a setting in /etc/bailiff/bailiff.d (bailiff.yaml(5)), then bailiff reload"
}
