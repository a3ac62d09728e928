# Completion of bailiff(1) for fish.
# Generated from the list of commands by: go generate ./cmd/bailiff

function __bailiff_banned
    timeout 1 bailiff bans --json 2>/dev/null | grep -o '"prefix": *"[^"]*"' | cut -d'"' -f4 | sort -u
end

function __bailiff_allowed
    timeout 1 bailiff allow list --json 2>/dev/null | grep -o '"prefix": *"[^"]*"' | cut -d'"' -f4 | sort -u
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

function __bailiff_services
    timeout 1 bailiff check --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
end

# __bailiff_words are the words before the cursor that are no options, without "bailiff".
function __bailiff_words
    set -l words (commandline -opc | string match -v -- '-*')
    for w in $words[2..-1]
        echo $w
    end
end

# __bailiff_on COMMAND [VERB] tells whether this is the command.
function __bailiff_on
    set -l words (__bailiff_words)
    for i in (seq (count $argv))
        test "$words[$i]" = "$argv[$i]"; or return 1
    end
end

# __bailiff_first COMMAND tells whether the verb is to come; without COMMAND, whether the command is.
function __bailiff_first
    test (count (__bailiff_words)) -eq (count $argv); and __bailiff_on $argv
end

complete -c bailiff -f
complete -c bailiff -n __bailiff_first -a status -d 'show what the daemon does, problems first'
complete -c bailiff -n __bailiff_first -a bans -d 'list the bans in effect'
complete -c bailiff -n __bailiff_first -a ban -d 'ban addresses or prefixes'
complete -c bailiff -n __bailiff_first -a unban -d 'lift the bans of addresses or prefixes, or all bans'
complete -c bailiff -n __bailiff_first -a allow -d 'manage the allow list: who is never banned'
complete -c bailiff -n __bailiff_first -a why -d 'explain why an address is banned, counted or allowed'
complete -c bailiff -n __bailiff_first -a firewall -d 'compare the bans with what the firewall holds, and repair it'
complete -c bailiff -n __bailiff_first -a fleet -d 'bans that hosts share'
complete -c bailiff -n __bailiff_first -a lists -d 'published block lists: what they hold and stop'
complete -c bailiff -n __bailiff_first -a report -d 'show, retry, drop and test reports of bans'
complete -c bailiff -n __bailiff_first -a check -d 'check the configuration as the daemon would load it, and where this host\'s services log'
complete -c bailiff -n __bailiff_first -a filter -d 'list, show and test filters'
complete -c bailiff -n __bailiff_first -a config -d 'show the merged configuration with the origin of each setting'
complete -c bailiff -n __bailiff_first -a reload -d 'have the daemon load the configuration again'
complete -c bailiff -n __bailiff_first -a import -d 'take over the configuration and bans of fail2ban'
complete -c bailiff -n __bailiff_first -a replay -d 'run the configuration over past journal entries'
complete -c bailiff -n __bailiff_first -a top -d 'show attacks, bans and jails live; q leaves'
complete -c bailiff -n __bailiff_first -a web -d 'print a link to the status page'
complete -c bailiff -n __bailiff_first -a stats -d 'count who attacks, how and when, in past journal entries'
complete -c bailiff -n __bailiff_first -a metrics -d 'print metrics for Prometheus'
complete -c bailiff -n __bailiff_first -a match -d 'try lines on a filter, and show how they matched'
complete -c bailiff -n __bailiff_first -a version -d 'print the version'
complete -c bailiff -n __bailiff_first -a help -d 'list the commands'

complete -c bailiff -n '__bailiff_on status' -l all -d 'also show jails that have nothing to watch on this host'
complete -c bailiff -n '__bailiff_on status' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on status' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on bans' -l jail -x -a '(__bailiff_jails)' -d 'only bans of this JAIL'
complete -c bailiff -n '__bailiff_on bans' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on bans' -l observed -d 'list what jails that only observe would have banned'
complete -c bailiff -n '__bailiff_on bans' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on ban' -l for -x -a '10m 1h 2d 1w 4w forever' -d 'ban for this DURATION: 10m, 2d, 4w or forever (default: the jail\'s ban_time)'
complete -c bailiff -n '__bailiff_on ban' -l force -d 'allow prefixes wider than /8 (IPv6: /32)'
complete -c bailiff -n '__bailiff_on ban' -l jail -x -a '(__bailiff_jails)' -d 'ban as this JAIL does, on its ports only (default: all traffic)'
complete -c bailiff -n '__bailiff_on ban' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on ban' -l reason -x -d 'record this TEXT with the ban'
complete -c bailiff -n '__bailiff_on ban' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on unban' -l all -d 'lift every ban'
complete -c bailiff -n '__bailiff_on unban' -l jail -x -a '(__bailiff_jails)' -d 'only bans of this JAIL'
complete -c bailiff -n '__bailiff_on unban' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on unban' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on unban' -a '(__bailiff_banned)'

complete -c bailiff -n '__bailiff_first allow' -a list -d 'show the whole allow list'
complete -c bailiff -n '__bailiff_first allow' -a add -d 'allow addresses at run time; the word add may be left out'
complete -c bailiff -n '__bailiff_first allow' -a remove -d 'remove entries that were added at run time'
complete -c bailiff -n '__bailiff_first allow' -a why -d 'explain which entries allow an address; exit status 1 if none does'
complete -c bailiff -n '__bailiff_first allow' -a refresh -d 'fetch published lists whose time has come'

complete -c bailiff -n '__bailiff_on allow list' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow list' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on allow add' -l comment -x -d 'record this TEXT with the entry'
complete -c bailiff -n '__bailiff_on allow add' -l for -x -a '10m 1h 2d 1w 4w forever' -d 'allow for this DURATION: 10m, 2d, 4w (default: until removed)'
complete -c bailiff -n '__bailiff_on allow add' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow add' -l remove -d 'the same as allow remove'
complete -c bailiff -n '__bailiff_on allow add' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on allow remove' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow remove' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on allow remove' -a '(__bailiff_allowed)'

complete -c bailiff -n '__bailiff_on allow why' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow why' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on allow refresh' -l accept -x -d 'accept this LIST although it has shrunk; may be repeated'
complete -c bailiff -n '__bailiff_on allow refresh' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on allow refresh' -l force -d 'fetch lists even before their time'
complete -c bailiff -n '__bailiff_on allow refresh' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on allow refresh' -l lists -r -F -d 'put the lists into this FOLDER'

complete -c bailiff -n '__bailiff_on why' -l file -r -F -d 'for an address without failures on record, search PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on why' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on why' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on why' -a '(__bailiff_banned)'

complete -c bailiff -n '__bailiff_first firewall' -a status -d 'show what the firewall holds and should hold'
complete -c bailiff -n '__bailiff_first firewall' -a verify -d 'show only what differs; exit status 1 if anything does'
complete -c bailiff -n '__bailiff_first firewall' -a repair -d 'have the daemon repair what differs'
complete -c bailiff -n '__bailiff_first firewall' -a remove -d 'remove everything of bailiff\'s from every firewall of this host'

complete -c bailiff -n '__bailiff_on firewall status' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall status' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on firewall verify' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall verify' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on firewall repair' -l force -d 'also remove objects with bailiff\'s names that others have made'
complete -c bailiff -n '__bailiff_on firewall repair' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall repair' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on firewall remove' -l force -d 'also remove objects with bailiff\'s names that others have made'
complete -c bailiff -n '__bailiff_on firewall remove' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on firewall remove' -l stop -d 'stop the daemon first'

complete -c bailiff -n '__bailiff_first fleet' -a status -d 'show which hosts are trusted, their bans, and what was refused'
complete -c bailiff -n '__bailiff_first fleet' -a init -d 'make a new fleet: write the files of its hub and hosts to a new folder'
complete -c bailiff -n '__bailiff_first fleet' -a add -d 'add hosts to a fleet'
complete -c bailiff -n '__bailiff_first fleet' -a rotate -d 'give a host, or the hub, new keys; the old ones are valid until --finish'
complete -c bailiff -n '__bailiff_first fleet' -a revoke -d 'remove hosts from a fleet: they are no longer trusted, and their bans end'
complete -c bailiff -n '__bailiff_first fleet' -a servers -d 'give a fleet\'s hub these servers in place of those it has'
complete -c bailiff -n '__bailiff_first fleet' -a key -d 'make the key of a new operator: write it to a new file and print the public one'
complete -c bailiff -n '__bailiff_first fleet' -a operator -d 'add an operator, who may add and remove hosts, by the public key that bailiff fleet key printed'
complete -c bailiff -n '__bailiff_first fleet' -a allow -d 'allow addresses on all hosts of a fleet: bans of them are lifted'
complete -c bailiff -n '__bailiff_first fleet' -a publish -d 'send the list of hosts and allowed addresses to the hub of a fleet'
complete -c bailiff -n '__bailiff_first fleet' -a hub -d 'install what fleet init wrote for a server on this host, and start or reload nats-server'
complete -c bailiff -n '__bailiff_first fleet' -a join -d 'make this host a member of the fleet whose operator made the file'
complete -c bailiff -n '__bailiff_first fleet' -a leave -d 'end this host\'s membership in a fleet: bans of others end here'

complete -c bailiff -n '__bailiff_on fleet status' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on fleet status' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on fleet init' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on fleet init' -l name -x -d 'NAME of the fleet (default: that of the folder)'
complete -c bailiff -n '__bailiff_on fleet init' -l operator -x -d 'NAME of the operator, who signs the list of hosts (default: your user name)'
complete -c bailiff -n '__bailiff_on fleet init' -l server -x -d 'SERVER of the hub, HOST[:PORT]; may be repeated'

complete -c bailiff -n '__bailiff_on fleet add' -l json -d 'print JSON'

complete -c bailiff -n '__bailiff_on fleet rotate' -l finish -d 'the host has its new file, or all hosts the new roster: revoke the old keys'
complete -c bailiff -n '__bailiff_on fleet rotate' -l json -d 'print JSON'

complete -c bailiff -n '__bailiff_on fleet revoke' -l json -d 'print JSON'

complete -c bailiff -n '__bailiff_on fleet servers' -l json -d 'print JSON'

complete -c bailiff -n '__bailiff_on fleet key' -F

complete -c bailiff -n '__bailiff_on fleet operator' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on fleet operator' -l remove -d 'remove an operator, whose signatures are then no longer trusted'

complete -c bailiff -n '__bailiff_on fleet allow' -l comment -x -d 'record this TEXT with the entry'
complete -c bailiff -n '__bailiff_on fleet allow' -l for -x -a '10m 1h 2d 1w 4w forever' -d 'allow for this DURATION: 10m, 2d, 4w (default: until removed)'
complete -c bailiff -n '__bailiff_on fleet allow' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on fleet allow' -l remove -d 'stop allowing them'


complete -c bailiff -n '__bailiff_on fleet hub' -l remove -d 'remove the hub from this host: stop nats-server and remove its files'

complete -c bailiff -n '__bailiff_on fleet join' -l plain -d 'do not encrypt this host\'s keys with systemd-creds(1)'
complete -c bailiff -n '__bailiff_on fleet join' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on fleet join' -l wait -x -a 'now today yesterday -1h -2d -7d' -d 'TIME to wait for the connection to the hub'
complete -c bailiff -n '__bailiff_on fleet join' -F

complete -c bailiff -n '__bailiff_on fleet leave' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_first lists' -a status -d 'show each list, its age, and what it has stopped'
complete -c bailiff -n '__bailiff_first lists' -a dry-run -d 'show what lists would have stopped in the past: attackers and logins; lists --dry-run is the same'
complete -c bailiff -n '__bailiff_first lists' -a refresh -d 'fetch published lists whose time has come'

complete -c bailiff -n '__bailiff_on lists status' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on lists status' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on lists dry-run' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on lists dry-run' -l dry-run -d 'the same as the word dry-run'
complete -c bailiff -n '__bailiff_on lists dry-run' -l export -r -F -d 'read what journalctl -o export wrote from this FILE; - is standard input'
complete -c bailiff -n '__bailiff_on lists dry-run' -l file -r -F -d 'read PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on lists dry-run' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on lists dry-run' -l lists -r -F -d 'read the lists in this FOLDER'
complete -c bailiff -n '__bailiff_on lists dry-run' -l since -x -a 'now today yesterday -1h -2d -7d' -d 'begin at this TIME: today, yesterday, "1 hour ago", -2h, 13:00, 2026-11-22, "2026-11-22 19:17", RFC 3339, @SECONDS (default: -7d in this host\'s journal, else the first entry)'
complete -c bailiff -n '__bailiff_on lists dry-run' -l until -x -a 'now today yesterday -1h -2d -7d' -d 'end at this TIME'

complete -c bailiff -n '__bailiff_on lists refresh' -l accept -x -d 'accept this LIST although it has shrunk; may be repeated'
complete -c bailiff -n '__bailiff_on lists refresh' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on lists refresh' -l force -d 'fetch lists even before their time'
complete -c bailiff -n '__bailiff_on lists refresh' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on lists refresh' -l lists -r -F -d 'put the lists into this FOLDER'

complete -c bailiff -n '__bailiff_first report' -a list -d 'list destinations and the reports that wait'
complete -c bailiff -n '__bailiff_first report' -a show -d 'show a waiting report, and what each destination will be sent'
complete -c bailiff -n '__bailiff_first report' -a retry -d 'try waiting reports now'
complete -c bailiff -n '__bailiff_first report' -a drop -d 'give up waiting reports'
complete -c bailiff -n '__bailiff_first report' -a test -d 'deliver a test report, or show what would be delivered'
complete -c bailiff -n '__bailiff_first report' -a setup -d 'prepare bailiff-report for this host\'s mail system'

complete -c bailiff -n '__bailiff_on report list' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report list' -l limit -x -d 'list at most this NUMBER of reports'
complete -c bailiff -n '__bailiff_on report list' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report list' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report show' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report show' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report show' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report retry' -l all -d 'retry all waiting reports'
complete -c bailiff -n '__bailiff_on report retry' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report retry' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report retry' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report drop' -l all -d 'drop all waiting reports'
complete -c bailiff -n '__bailiff_on report drop' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report drop' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report drop' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report test' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on report test' -l dry-run -d 'print what DESTINATION would be sent about a ban, or about a test, and send nothing; works without bailiff-report running'
complete -c bailiff -n '__bailiff_on report test' -l file -r -F -d 'with --dry-run, find the ban in PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on report test' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on report test' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on report test' -a '(__bailiff_destinations)'

complete -c bailiff -n '__bailiff_on report setup' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on report setup' -l dry-run -d 'show what would be changed, and change nothing'
complete -c bailiff -n '__bailiff_on report setup' -l mail -x -a 'postfix exim opensmtpd sendmail msmtp' -d 'use this mail SYSTEM instead of the one found: postfix, exim, opensmtpd, sendmail, msmtp'
complete -c bailiff -n '__bailiff_on report setup' -l root -r -F -d 'the host\'s file system is in this FOLDER; no service is restarted'

complete -c bailiff -n '__bailiff_on check' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on check' -l dry-run -d 'with --fix: print the drop-in, and write nothing'
complete -c bailiff -n '__bailiff_on check' -l fix -x -a '(__bailiff_services)' -d 'write the drop-in that makes this SERVICE log to the journal'
complete -c bailiff -n '__bailiff_on check' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on check' -a '(__bailiff_services)'

complete -c bailiff -n '__bailiff_first filter' -a list -d 'list all filters with their state'
complete -c bailiff -n '__bailiff_first filter' -a show -d 'print the file of a filter'
complete -c bailiff -n '__bailiff_first filter' -a test -d 'run all checks on filters, all of them by default'

complete -c bailiff -n '__bailiff_on filter list' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on filter list' -l json -d 'print JSON'

complete -c bailiff -n '__bailiff_on filter show' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on filter show' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on filter show' -F -a '(__bailiff_filters)'

complete -c bailiff -n '__bailiff_on filter test' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on filter test' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on filter test' -F -a '(__bailiff_filters)'

complete -c bailiff -n '__bailiff_on config' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on config' -l running -d 'show what the daemon uses, which may be older than the files'
complete -c bailiff -n '__bailiff_on config' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on reload' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on reload' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on import' -l bans -d 'have the running daemon take over the bans in effect'
complete -c bailiff -n '__bailiff_on import' -l database -r -F -d 'read fail2ban\'s bans from this FILE (default: as fail2ban.conf says)'
complete -c bailiff -n '__bailiff_on import' -l dry-run -d 'print what would be written, and write nothing'
complete -c bailiff -n '__bailiff_on import' -l force -d 'replace files that exist; the old ones are kept as NAME.old'
complete -c bailiff -n '__bailiff_on import' -l from -r -F -d 'read fail2ban\'s configuration from this FOLDER'
complete -c bailiff -n '__bailiff_on import' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on import' -l socket -r -F -d 'PATH of the control socket'
complete -c bailiff -n '__bailiff_on import' -l to -r -F -d 'write into this FOLDER'
complete -c bailiff -n '__bailiff_on import' -l verbose -d 'show every setting, including those that were carried over unchanged'

complete -c bailiff -n '__bailiff_on replay' -l compare -r -F -d 'show how the bans of this other configuration FILE would differ'
complete -c bailiff -n '__bailiff_on replay' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on replay' -l export -r -F -d 'read what journalctl -o export wrote from this FILE; - is standard input'
complete -c bailiff -n '__bailiff_on replay' -l failures -d 'show each failure that counts, too'
complete -c bailiff -n '__bailiff_on replay' -l file -r -F -d 'read PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on replay' -l jail -x -a '(__bailiff_jails)' -d 'only this JAIL; may be repeated'
complete -c bailiff -n '__bailiff_on replay' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on replay' -l since -x -a 'now today yesterday -1h -2d -7d' -d 'begin at this TIME: today, yesterday, "1 hour ago", -2h, 13:00, 2026-11-22, "2026-11-22 19:17", RFC 3339, @SECONDS'
complete -c bailiff -n '__bailiff_on replay' -l until -x -a 'now today yesterday -1h -2d -7d' -d 'end at this TIME'

complete -c bailiff -n '__bailiff_on top' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on top' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on web' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on web' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on stats' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on stats' -l export -r -F -d 'read what journalctl -o export wrote from this FILE; - is standard input'
complete -c bailiff -n '__bailiff_on stats' -l file -r -F -d 'read PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on stats' -l geoip -r -F -d 'use the GeoIP database (.mmdb), or folder of them, at this PATH (default: those in /usr/share/GeoIP and /var/lib/GeoIP); may be repeated'
complete -c bailiff -n '__bailiff_on stats' -l jail -x -a '(__bailiff_jails)' -d 'only this JAIL; may be repeated'
complete -c bailiff -n '__bailiff_on stats' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on stats' -l since -x -a 'now today yesterday -1h -2d -7d' -d 'begin at this TIME: today, yesterday, "1 hour ago", -2h, 13:00, 2026-11-22, "2026-11-22 19:17", RFC 3339, @SECONDS (default: -7d in this host\'s journal, else the first entry)'
complete -c bailiff -n '__bailiff_on stats' -l top -x -d 'show this NUMBER of lines of each list'
complete -c bailiff -n '__bailiff_on stats' -l until -x -a 'now today yesterday -1h -2d -7d' -d 'end at this TIME'

complete -c bailiff -n '__bailiff_on metrics' -l openmetrics -d 'print OpenMetrics instead of Prometheus\' text format'
complete -c bailiff -n '__bailiff_on metrics' -l output -r -F -d 'replace this FILE, whether the daemon runs or not: for node_exporter\'s textfile collector'
complete -c bailiff -n '__bailiff_on metrics' -l report-socket -r -F -d 'PATH of bailiff-report\'s socket'
complete -c bailiff -n '__bailiff_on metrics' -l socket -r -F -d 'PATH of the control socket'

complete -c bailiff -n '__bailiff_on match' -l config -r -F -d 'use this configuration FILE (or folder) instead of the installed one'
complete -c bailiff -n '__bailiff_on match' -l cursor -x -d 'show how the journal entry at this CURSOR matched'
complete -c bailiff -n '__bailiff_on match' -l explain -x -d 'show how this LINE matched; - shows it for each line of the input'
complete -c bailiff -n '__bailiff_on match' -l export -d 'the input is export format; without this it is recognised'
complete -c bailiff -n '__bailiff_on match' -l file -r -F -d 'with --cursor, read PATH: a journal file or a folder of them (default: this host\'s journal); may be repeated'
complete -c bailiff -n '__bailiff_on match' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on match' -l matched -d 'leave out the lines that no pattern matches'
complete -c bailiff -n '__bailiff_on match' -F -a '(__bailiff_filters)'

complete -c bailiff -n '__bailiff_on version' -l json -d 'print JSON'
