# Completion of bailiff(1) for fish.

function __bailiff_prefixes
    timeout 1 bailiff bans --json 2>/dev/null | string match -ar '"prefix": *"[^"]*"' | string replace -r '.*"([^"]*)"$' '$1'
end

function __bailiff_filters
    timeout 1 bailiff filter list --json 2>/dev/null | string match -ar '"name":"[^"]*"' | string replace -r '.*"([^"]*)"$' '$1'
end

function __bailiff_on
    __fish_seen_subcommand_from $argv
end

complete -c bailiff -f
complete -c bailiff -n __fish_use_subcommand -a status -d 'what the daemon does right now'
complete -c bailiff -n __fish_use_subcommand -a bans -d 'bans in force'
complete -c bailiff -n __fish_use_subcommand -a ban -d 'ban addresses or prefixes by hand'
complete -c bailiff -n __fish_use_subcommand -a unban -d 'lift bans'
complete -c bailiff -n __fish_use_subcommand -a allow -d 'who is never banned: show, add, ask why, fetch published lists'
complete -c bailiff -n __fish_use_subcommand -a why -d 'why an address is banned, counted or allowed'
complete -c bailiff -n __fish_use_subcommand -a report -d 'reports of bans: what waits, try again, drop, test, --dry-run'
complete -c bailiff -n __fish_use_subcommand -a check -d 'check the configuration as the daemon would load it'
complete -c bailiff -n __fish_use_subcommand -a filter -d 'the filters: list them, show one, test them'
complete -c bailiff -n __fish_use_subcommand -a config -d 'the merged configuration with the origin of each setting'
complete -c bailiff -n __fish_use_subcommand -a reload -d 'load the configuration anew'
complete -c bailiff -n __fish_use_subcommand -a import -d 'take over the configuration and bans of fail2ban'
complete -c bailiff -n __fish_use_subcommand -a replay -d 'run the policy over past journal entries'
complete -c bailiff -n __fish_use_subcommand -a top -d 'a live view: attacks, bans, jails; q leaves'
complete -c bailiff -n __fish_use_subcommand -a stats -d 'who attacks, how and when: past journal entries in numbers'
complete -c bailiff -n __fish_use_subcommand -a match -d 'try lines against a filter, and see how they went'
complete -c bailiff -n __fish_use_subcommand -a version -d 'print the version'
complete -c bailiff -n __fish_use_subcommand -a help -d 'list the commands'

complete -c bailiff -n '__bailiff_on status bans ban unban allow why report check filter reload import replay top stats match version' -l json -d 'print JSON'
complete -c bailiff -n '__bailiff_on status bans ban unban allow why report config reload import top' -l socket -r -F -d 'control socket'
complete -c bailiff -n '__bailiff_on bans ban unban replay stats' -l jail -x -d 'jail'
complete -c bailiff -n '__bailiff_on ban allow' -l for -x -a '10m 1h 48h 1w 4w' -d 'how long'
complete -c bailiff -n '__bailiff_on ban' -l reason -x -d 'for the audit trail'
complete -c bailiff -n '__bailiff_on ban' -l force -d 'although the prefix is very wide'
complete -c bailiff -n '__bailiff_on unban' -l all -d 'lift every ban'
complete -c bailiff -n '__bailiff_on report' -a 'list show retry drop test'
complete -c bailiff -n '__bailiff_on report' -l dry-run -d 'print what would be sent'
complete -c bailiff -n '__bailiff_on report' -l all -d 'all that waits'
complete -c bailiff -n '__bailiff_on report' -l limit -x -d 'at most so many'
complete -c bailiff -n '__bailiff_on unban why' -a '(__bailiff_prefixes)'
complete -c bailiff -n '__bailiff_on allow' -l comment -x -d 'what it is'
complete -c bailiff -n '__bailiff_on allow' -l remove -d 'take entries off'
complete -c bailiff -n '__bailiff_on allow' -l lists -r -F -d 'folder of published lists'
complete -c bailiff -n '__bailiff_on allow' -l force -d 'fetch lists before their time'
complete -c bailiff -n '__bailiff_on allow' -l accept -x -d 'take this list although it has shrunk'
complete -c bailiff -n '__bailiff_on allow' -a 'list add remove why refresh'
complete -c bailiff -n '__bailiff_on allow report check filter config replay stats' -l config -r -F -d 'in place of the installed configuration'
complete -c bailiff -n '__bailiff_on config' -l running -d 'what the daemon has in force'
complete -c bailiff -n '__bailiff_on why report replay stats match' -l file -r -F -d 'journal file or folder'
complete -c bailiff -n '__bailiff_on replay stats' -l export -r -F -d 'export format'
complete -c bailiff -n '__bailiff_on replay stats' -l since -x -d 'begin here'
complete -c bailiff -n '__bailiff_on replay stats' -l until -x -d 'end here'
complete -c bailiff -n '__bailiff_on replay' -l compare -r -F -d 'tell how the bans of another configuration would differ'
complete -c bailiff -n '__bailiff_on replay' -l failures -d 'show each failure that counts'
complete -c bailiff -n '__bailiff_on stats' -l top -x -d 'lines of each list'
complete -c bailiff -n '__bailiff_on stats' -l geoip -r -F -d 'GeoIP database or folder'
complete -c bailiff -n '__bailiff_on match' -l export -d 'the input is export format'
complete -c bailiff -n '__bailiff_on match' -l explain -x -d 'show how a line went through'
complete -c bailiff -n '__bailiff_on match' -l cursor -x -d 'show it for an entry of the journal'
complete -c bailiff -n '__bailiff_on match' -l matched -d 'leave out lines that no pattern takes'
complete -c bailiff -n '__bailiff_on match' -F
complete -c bailiff -n '__bailiff_on filter' -F -a 'list show test (__bailiff_filters)'
complete -c bailiff -n '__bailiff_on match' -a '(__bailiff_filters)'
complete -c bailiff -n '__bailiff_on import' -l from -r -F -d 'where fail2ban was configured'
complete -c bailiff -n '__bailiff_on import' -l to -r -F -d 'where to write'
complete -c bailiff -n '__bailiff_on import' -l dry-run -d 'print and write nothing'
complete -c bailiff -n '__bailiff_on import' -l force -d 'replace files, keep the old as NAME.old'
complete -c bailiff -n '__bailiff_on import' -l verbose -d 'tell of every setting'
complete -c bailiff -n '__bailiff_on import' -l bans -d 'take over the bans in force'
complete -c bailiff -n '__bailiff_on import' -l database -r -F -d 'where they stand'
