# Completion of bailiff(1) for fish.
# Generated from the list of commands by: go generate ./cmd/bailiff

function __bailiff_banned
    timeout 1 bailiff bans --json 2>/dev/null | grep -o '"prefix": *"[^"]*"' | cut -d'"' -f4 | sort -u
end

function __bailiff_filters
    timeout 1 bailiff filter list --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
end

function __bailiff_jails
    timeout 1 bailiff status --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
end

function __bailiff_destinations
    timeout 1 bailiff report list --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
end

function __bailiff_on
    __fish_seen_subcommand_from $argv
end

complete -c bailiff -f
complete -c bailiff -n __fish_use_subcommand -a status -d 'show what the daemon does, problems first'
complete -c bailiff -n __fish_use_subcommand -a bans -d 'list the bans in effect'
complete -c bailiff -n __fish_use_subcommand -a ban -d 'ban addresses or prefixes'
complete -c bailiff -n __fish_use_subcommand -a unban -d 'lift the bans of addresses or prefixes, or all bans'
complete -c bailiff -n __fish_use_subcommand -a allow -d 'manage the allow list: who is never banned'
complete -c bailiff -n __fish_use_subcommand -a why -d 'explain why an address is banned, counted or allowed'
complete -c bailiff -n __fish_use_subcommand -a firewall -d 'compare the bans with what the firewall holds, and repair it'
complete -c bailiff -n __fish_use_subcommand -a report -d 'show, retry, drop and test reports of bans'
complete -c bailiff -n __fish_use_subcommand -a check -d 'check the configuration as the daemon would load it'
complete -c bailiff -n __fish_use_subcommand -a filter -d 'list, show and test filters'
complete -c bailiff -n __fish_use_subcommand -a config -d 'show the merged configuration with the origin of each setting'
complete -c bailiff -n __fish_use_subcommand -a reload -d 'have the daemon load the configuration again'
complete -c bailiff -n __fish_use_subcommand -a import -d 'take over the configuration and bans of fail2ban'
complete -c bailiff -n __fish_use_subcommand -a replay -d 'run the configuration over past journal entries'
complete -c bailiff -n __fish_use_subcommand -a top -d 'show attacks, bans and jails live; q leaves'
complete -c bailiff -n __fish_use_subcommand -a stats -d 'count who attacks, how and when, in past journal entries'
complete -c bailiff -n __fish_use_subcommand -a match -d 'try lines on a filter, and show how they matched'
complete -c bailiff -n __fish_use_subcommand -a version -d 'print the version'
complete -c bailiff -n __fish_use_subcommand -a help -d 'list the commands'

complete -c bailiff -n '__bailiff_on status' -l all -d 'show the jails that have nothing to watch on this host, too'
complete -c bailiff -n '__bailiff_on status' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on status' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on bans' -l jail -x -a '(__bailiff_jails)' -d 'only bans of this JAIL'
complete -c bailiff -n '__bailiff_on bans' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on bans' -l observed -d 'list what jails that only observe would have banned'
complete -c bailiff -n '__bailiff_on bans' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on ban' -l for -x -a '10m 1h 2d 1w 4w forever' -d 'ban for this DURATION: 10m, 2d, 4w or forever (default: the jail\'s ban_time)'
complete -c bailiff -n '__bailiff_on ban' -l force -d 'allow prefixes wider than /8 (IPv6: /32)'
complete -c bailiff -n '__bailiff_on ban' -l jail -x -a '(__bailiff_jails)' -d 'ban as this JAIL does, on its ports only (default: all traffic)'
complete -c bailiff -n '__bailiff_on ban' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on ban' -l reason -x -d 'record this TEXT with the ban'
complete -c bailiff -n '__bailiff_on ban' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on unban' -l all -d 'lift every ban'
complete -c bailiff -n '__bailiff_on unban' -l jail -x -a '(__bailiff_jails)' -d 'only bans of this JAIL'
complete -c bailiff -n '__bailiff_on unban' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on unban' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on unban' -a '(__bailiff_banned)'

complete -c bailiff -n '__bailiff_on allow; and not __bailiff_on list add remove why refresh' -a list -d 'show the whole allow list'
complete -c bailiff -n '__bailiff_on allow; and not __bailiff_on list add remove why refresh' -a add -d 'allow addresses at run time; the word add may be left out'
complete -c bailiff -n '__bailiff_on allow; and not __bailiff_on list add remove why refresh' -a remove -d 'remove entries that were added at run time'
complete -c bailiff -n '__bailiff_on allow; and not __bailiff_on list add remove why refresh' -a why -d 'explain which entries allow an address; exit status 1 if none does'
complete -c bailiff -n '__bailiff_on allow; and not __bailiff_on list add remove why refresh' -a refresh -d 'fetch published lists whose time has come'

complete -c bailiff -n '__bailiff_on allow; and __bailiff_on list' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on list' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on allow; and __bailiff_on add' -l comment -x -d 'record this TEXT with the entry'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on add' -l for -x -a '10m 1h 2d 1w 4w forever' -d 'allow for this DURATION: 10m, 2d, 4w (default: until removed)'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on add' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on add' -l remove -d 'the same as allow remove'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on add' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on allow; and __bailiff_on remove' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on remove' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on allow; and __bailiff_on why' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on why' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on allow; and __bailiff_on refresh' -l accept -x -d 'accept this LIST although it has shrunk; may be repeated'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on refresh' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on refresh' -l force -d 'fetch lists even before their time'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on refresh' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow; and __bailiff_on refresh' -l lists -x -a '(__fish_complete_directories)' -d 'put the lists into this FOLDER'

complete -c bailiff -n '__bailiff_on why' -l file -x -a '(__fish_complete_path)' -d 'for an address without failures on record, search PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on why' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on why' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on why' -a '(__bailiff_banned)'

complete -c bailiff -n '__bailiff_on firewall; and not __bailiff_on status verify repair remove' -a status -d 'show what the firewall should hold and holds'
complete -c bailiff -n '__bailiff_on firewall; and not __bailiff_on status verify repair remove' -a verify -d 'show only what differs; exit status 1 if anything does'
complete -c bailiff -n '__bailiff_on firewall; and not __bailiff_on status verify repair remove' -a repair -d 'have the daemon repair what differs'
complete -c bailiff -n '__bailiff_on firewall; and not __bailiff_on status verify repair remove' -a remove -d 'remove everything of bailiff\'s from every firewall of this host'

complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on status' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on status' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on verify' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on verify' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on repair' -l force -d 'remove what has a name of bailiff\'s but was made by others, too'
complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on repair' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on repair' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on remove' -l force -d 'remove what has a name of bailiff\'s but was made by others, too'
complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on remove' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall; and __bailiff_on remove' -l stop -d 'stop the daemon first'

complete -c bailiff -n '__bailiff_on report; and not __bailiff_on list show retry drop test setup' -a list -d 'list destinations and the reports that wait'
complete -c bailiff -n '__bailiff_on report; and not __bailiff_on list show retry drop test setup' -a show -d 'show a waiting report, and what each destination will be sent'
complete -c bailiff -n '__bailiff_on report; and not __bailiff_on list show retry drop test setup' -a retry -d 'try waiting reports now'
complete -c bailiff -n '__bailiff_on report; and not __bailiff_on list show retry drop test setup' -a drop -d 'give up waiting reports'
complete -c bailiff -n '__bailiff_on report; and not __bailiff_on list show retry drop test setup' -a test -d 'deliver a test report, or show what would be delivered'
complete -c bailiff -n '__bailiff_on report; and not __bailiff_on list show retry drop test setup' -a setup -d 'prepare bailiff-report for this host\'s mail system'

complete -c bailiff -n '__bailiff_on report; and __bailiff_on list' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on list' -l limit -x -d 'list at most this NUMBER of reports'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on list' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on list' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report; and __bailiff_on show' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on show' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on show' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report; and __bailiff_on retry' -l all -d 'retry everything that waits'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on retry' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on retry' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on retry' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report; and __bailiff_on drop' -l all -d 'drop everything that waits'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on drop' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on drop' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on drop' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report; and __bailiff_on test' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on test' -l dry-run -d 'print what DESTINATION would be sent about a ban, or about a test, and send nothing; works without bailiff-report running'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on test' -l file -x -a '(__fish_complete_path)' -d 'with --dry-run, find the ban in PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on test' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on test' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on test' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report; and __bailiff_on setup' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on setup' -l dry-run -d 'show what would be changed, and change nothing'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on setup' -l mail -x -a 'postfix exim opensmtpd sendmail msmtp' -d 'use this mail SYSTEM instead of the one found: postfix, exim, opensmtpd, sendmail, msmtp'
complete -c bailiff -n '__bailiff_on report; and __bailiff_on setup' -l root -x -a '(__fish_complete_directories)' -d 'the host\'s file system is in this FOLDER; no service is restarted'

complete -c bailiff -n '__bailiff_on check' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on check' -l json -d 'print JSON'

complete -c bailiff -n '__bailiff_on filter; and not __bailiff_on list show test' -a list -d 'list all filters with their state'
complete -c bailiff -n '__bailiff_on filter; and not __bailiff_on list show test' -a show -d 'print the file of a filter'
complete -c bailiff -n '__bailiff_on filter; and not __bailiff_on list show test' -a test -d 'run all checks on filters, all of them by default'

complete -c bailiff -n '__bailiff_on filter; and __bailiff_on list' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on filter; and __bailiff_on list' -l json -d 'print JSON'

complete -c bailiff -n '__bailiff_on filter; and __bailiff_on show' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on filter; and __bailiff_on show' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on filter; and __bailiff_on show' -a '(__fish_complete_path) (__bailiff_filters)'

complete -c bailiff -n '__bailiff_on filter; and __bailiff_on test' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on filter; and __bailiff_on test' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on filter; and __bailiff_on test' -a '(__fish_complete_path) (__bailiff_filters)'

complete -c bailiff -n '__bailiff_on config' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on config' -l running -d 'show what the daemon uses, which may be older than the files'
complete -c bailiff -n '__bailiff_on config' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on reload' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on reload' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on import' -l bans -d 'have the running daemon take over the bans in effect'
complete -c bailiff -n '__bailiff_on import' -l database -x -a '(__fish_complete_path)' -d 'read fail2ban\'s bans from this FILE (default: as fail2ban.conf says)'
complete -c bailiff -n '__bailiff_on import' -l dry-run -d 'print what would be written, and write nothing'
complete -c bailiff -n '__bailiff_on import' -l force -d 'replace files that exist; the old ones are kept as NAME.old'
complete -c bailiff -n '__bailiff_on import' -l from -x -a '(__fish_complete_directories)' -d 'read fail2ban\'s configuration from this FOLDER'
complete -c bailiff -n '__bailiff_on import' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on import' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on import' -l to -x -a '(__fish_complete_directories)' -d 'write into this FOLDER'
complete -c bailiff -n '__bailiff_on import' -l verbose -d 'show every setting, including those that were carried over unchanged'

complete -c bailiff -n '__bailiff_on replay' -l compare -x -a '(__fish_complete_path)' -d 'show how the bans of this other configuration FILE would differ'
complete -c bailiff -n '__bailiff_on replay' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on replay' -l export -x -a '(__fish_complete_path)' -d 'read what journalctl -o export wrote from this FILE; - is standard input'
complete -c bailiff -n '__bailiff_on replay' -l failures -d 'show each failure that counts, too'
complete -c bailiff -n '__bailiff_on replay' -l file -x -a '(__fish_complete_path)' -d 'read PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on replay' -l jail -x -a '(__bailiff_jails)' -d 'only this JAIL; may be repeated'
complete -c bailiff -n '__bailiff_on replay' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on replay' -l since -x -a 'now today yesterday -1h -2d -7d' -d 'begin at this TIME: today, yesterday, "1 hour ago", -2h, 13:00, 2026-11-22, "2026-11-22 19:17", RFC 3339, @SECONDS'
complete -c bailiff -n '__bailiff_on replay' -l until -x -a 'now today yesterday -1h -2d -7d' -d 'end at this TIME'

complete -c bailiff -n '__bailiff_on top' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on top' -l socket -x -a '(__fish_complete_path)' -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on stats' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on stats' -l export -x -a '(__fish_complete_path)' -d 'read what journalctl -o export wrote from this FILE; - is standard input'
complete -c bailiff -n '__bailiff_on stats' -l file -x -a '(__fish_complete_path)' -d 'read PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on stats' -l geoip -x -a '(__fish_complete_path)' -d 'use this GeoIP database (.mmdb) or folder of them, a PATH (default: those in /usr/share/GeoIP and /var/lib/GeoIP); may be repeated'
complete -c bailiff -n '__bailiff_on stats' -l jail -x -a '(__bailiff_jails)' -d 'only this JAIL; may be repeated'
complete -c bailiff -n '__bailiff_on stats' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on stats' -l since -x -a 'now today yesterday -1h -2d -7d' -d 'begin at this TIME: today, yesterday, "1 hour ago", -2h, 13:00, 2026-11-22, "2026-11-22 19:17", RFC 3339, @SECONDS (default: -7d in this host\'s journal, else the first entry)'
complete -c bailiff -n '__bailiff_on stats' -l top -x -d 'show this NUMBER of lines of each list'
complete -c bailiff -n '__bailiff_on stats' -l until -x -a 'now today yesterday -1h -2d -7d' -d 'end at this TIME'

complete -c bailiff -n '__bailiff_on match' -l config -x -a '(__fish_complete_path)' -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on match' -l cursor -x -d 'show how the journal entry at this CURSOR matched'
complete -c bailiff -n '__bailiff_on match' -l explain -x -d 'show how this LINE matched; - shows it for each line of the input'
complete -c bailiff -n '__bailiff_on match' -l export -d 'the input is export format; without this it is recognised'
complete -c bailiff -n '__bailiff_on match' -l file -x -a '(__fish_complete_path)' -d 'with --cursor, read PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on match' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on match' -l matched -d 'leave out the lines that no pattern matches'
complete -c bailiff -n '__bailiff_on match' -a '(__fish_complete_path) (__bailiff_filters)'

complete -c bailiff -n '__bailiff_on version' -l json -d 'print JSON'
