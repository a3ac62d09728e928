package main

import (
	"cmp"
	"strings"
)

// fail2banClient has our command for what is typed at fail2ban-client. In what is typed, JAIL is a word that is no option,
// ANY is any word, ADDRESSES is the rest, and [ADDRESSES] the rest, which may be empty. The first line that fits counts.
// bailiff(1) has the same as a table.
var fail2banClient = [][2]string{
	{"banip ADDRESSES", "bailiff ban ADDRESSES"},
	{"unbanip ADDRESSES", "bailiff unban ADDRESSES"},
	{"banned [ADDRESSES]", "bailiff bans [ADDRESSES]"},
	{"unban all", "bailiff unban --all"},
	{"status JAIL", "bailiff bans --jail JAIL"},
	{"restart ANY", "bailiff reload (it reloads all jails)"},
	{"restart", "systemctl restart bailiff"},
	{"reload", "bailiff reload (it reloads all jails)"},
	{"start", "systemctl start bailiff; one jail is switched off in the configuration: jails: {NAME: {enabled: false}}"},
	{"stop", "systemctl stop bailiff; one jail is switched off in the configuration: jails: {NAME: {enabled: false}}"},
	{"ping", "systemctl is-active bailiff"},
	{"-t", "bailiff check"},
	{"--test", "bailiff check"},
	{"-d", "bailiff config"},
	{"--dump", "bailiff config"},
	{"add", "a jail in the configuration: jails: {NAME: {}}, then bailiff reload"},
	{"get JAIL banip", "bailiff bans --jail JAIL"},
	{"get JAIL banned", "bailiff bans --jail JAIL"},
	{"get ANY ignoreip", "bailiff allow"},
	{"get JAIL failregex", "bailiff filter show JAIL"},
	{"get JAIL ignoreregex", "bailiff filter show JAIL"},
	{"get JAIL journalmatch", "bailiff filter show JAIL"},
	{"get", "bailiff config"},
	{"set JAIL banip ADDRESSES", "bailiff ban --jail JAIL ADDRESSES"},
	{"set JAIL unbanip ADDRESSES", "bailiff unban --jail JAIL ADDRESSES"},
	{"set ANY addignoreip ADDRESSES", "bailiff allow ADDRESSES"},
	{"set ANY delignoreip ADDRESSES", "bailiff allow remove ADDRESSES"},
	{"set", "a setting in /etc/bailiff/bailiff.d (bailiff.yaml(5)), then bailiff reload"},
}

// fromFail2ban names our command for what was typed at fail2ban-client, "" if there is none.
func fromFail2ban(args []string) string {
	for _, line := range fail2banClient {
		fits, ours := true, line[1]
		for i, word := range strings.Fields(line[0]) {
			given := append(args, make([]string, i+1)...)[i]
			rest := strings.Join(args[min(i, len(args)):], " ")
			switch word {
			case "JAIL":
				fits = fits && given != "" && given[0] != '-'
				ours = strings.ReplaceAll(ours, word, given)
			case "ANY":
				fits = fits && given != ""
			case "ADDRESSES":
				ours = strings.ReplaceAll(ours, word, cmp.Or(rest, "ADDRESS"))
			case "[ADDRESSES]":
				ours = strings.TrimSpace(strings.ReplaceAll(ours, word, rest))
			default:
				fits = fits && word == given
			}
		}
		if fits {
			return "fail2ban's " + strings.Join(args[:min(len(args), 3)], " ") + " is here: " + ours
		}
	}
	return ""
}
