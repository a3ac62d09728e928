# Completion of bailiff(1) for bash.
# Generated from the list of commands by: go generate ./cmd/bailiff

_bailiff_banned() {
	timeout 1 bailiff bans --json 2>/dev/null | grep -o '"prefix": *"[^"]*"' | cut -d'"' -f4 | sort -u
}

_bailiff_allowed() {
	timeout 1 bailiff allow list --json 2>/dev/null | grep -o '"prefix": *"[^"]*"' | cut -d'"' -f4 | sort -u
}

_bailiff_filters() {
	timeout 1 bailiff filter list --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
}

_bailiff_jails() {
	timeout 1 bailiff status --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
}

_bailiff_destinations() {
	timeout 1 bailiff report list --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
}

_bailiff_services() {
	timeout 1 bailiff check --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort -u
}

_bailiff() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' verb='' word options='' words=''
	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n : cur prev # an IPv6 address is one word
	fi
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-*) ;;
		*) if [[ -z $command ]]; then command=$word; elif [[ -z $verb ]]; then verb=$word; fi ;;
		esac
	done
	COMPREPLY=()
	case $command in
	'') words='status bans ban unban allow why firewall fleet lists report check filter config reload import replay top web stats metrics match version help' ;;
	status)
		options='--all --json --socket'
		case $prev in
		--socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	bans)
		options='--jail --json --observed --socket'
		case $prev in
		--jail) words=$(_bailiff_jails) ;;
		--socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	ban)
		options='--for --force --jail --json --reason --socket'
		case $prev in
		--for) words='10m 1h 2d 1w 4w forever' ;;
		--jail) words=$(_bailiff_jails) ;;
		--reason) return ;;
		--socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	unban)
		options='--all --jail --json --socket'
		case $prev in
		--jail) words=$(_bailiff_jails) ;;
		--socket) compopt -o default; return ;;
		*) words=$(_bailiff_banned) ;;
		esac
		;;
	allow)
		case $verb in
		list)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		add)
			options='--comment --for --json --remove --socket'
			case $prev in
			--comment) return ;;
			--for) words='10m 1h 2d 1w 4w forever' ;;
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		remove)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) words=$(_bailiff_allowed) ;;
			esac
			;;
		why)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		refresh)
			options='--accept --config --force --json --lists'
			case $prev in
			--accept) return ;;
			--config) compopt -o default; return ;;
			--lists) compopt -o dirnames; return ;;
			*) : ;;
			esac
			;;
		*) words='list add remove why refresh' ;;
		esac
		;;
	why)
		options='--file --json --socket'
		case $prev in
		--file | --socket) compopt -o default; return ;;
		*) words=$(_bailiff_banned) ;;
		esac
		;;
	firewall)
		case $verb in
		status)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		verify)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		repair)
			options='--force --json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		remove)
			options='--force --json --stop'
			:
			;;
		*) words='status verify repair remove' ;;
		esac
		;;
	fleet)
		case $verb in
		status)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		init)
			options='--json --name --operator --server'
			case $prev in
			--name | --operator | --server) return ;;
			*) : ;;
			esac
			;;
		add)
			options='--json'
			:
			;;
		rotate)
			options='--finish --json'
			:
			;;
		revoke)
			options='--json'
			:
			;;
		servers)
			options='--json'
			:
			;;
		key)
			options=''
			compopt -o default; :
			;;
		operator)
			options='--json --remove'
			:
			;;
		allow)
			options='--comment --for --json --remove'
			case $prev in
			--comment) return ;;
			--for) words='10m 1h 2d 1w 4w forever' ;;
			*) : ;;
			esac
			;;
		publish)
			options=''
			:
			;;
		hub)
			options='--remove'
			:
			;;
		join)
			options='--plain --socket --wait'
			case $prev in
			--socket) compopt -o default; return ;;
			--wait) words='now today yesterday -1h -2d -7d' ;;
			*) compopt -o default; : ;;
			esac
			;;
		leave)
			options='--socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		*) words='status init add rotate revoke servers key operator allow publish hub join leave' ;;
		esac
		;;
	lists)
		case $verb in
		status)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		dry-run)
			options='--config --dry-run --export --file --json --lists --since --until'
			case $prev in
			--config | --export | --file) compopt -o default; return ;;
			--lists) compopt -o dirnames; return ;;
			--since | --until) words='now today yesterday -1h -2d -7d' ;;
			*) : ;;
			esac
			;;
		refresh)
			options='--accept --config --force --json --lists'
			case $prev in
			--accept) return ;;
			--config) compopt -o default; return ;;
			--lists) compopt -o dirnames; return ;;
			*) : ;;
			esac
			;;
		*) words='status dry-run refresh' ;;
		esac
		;;
	report)
		case $verb in
		list)
			options='--json --limit --socket'
			case $prev in
			--limit) return ;;
			--socket) compopt -o default; return ;;
			*) words=$(_bailiff_destinations) ;;
			esac
			;;
		show)
			options='--json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) words=$(_bailiff_destinations) ;;
			esac
			;;
		retry)
			options='--all --json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) words=$(_bailiff_destinations) ;;
			esac
			;;
		drop)
			options='--all --json --socket'
			case $prev in
			--socket) compopt -o default; return ;;
			*) words=$(_bailiff_destinations) ;;
			esac
			;;
		test)
			options='--config --dry-run --file --json --socket'
			case $prev in
			--config | --file | --socket) compopt -o default; return ;;
			*) words=$(_bailiff_destinations) ;;
			esac
			;;
		setup)
			options='--config --dry-run --mail --root'
			case $prev in
			--config) compopt -o default; return ;;
			--mail) words='postfix exim opensmtpd sendmail msmtp' ;;
			--root) compopt -o dirnames; return ;;
			*) : ;;
			esac
			;;
		*) words='list show retry drop test setup' ;;
		esac
		;;
	check)
		options='--config --dry-run --fix --json'
		case $prev in
		--config) compopt -o default; return ;;
		--fix) words=$(_bailiff_services) ;;
		*) words=$(_bailiff_services) ;;
		esac
		;;
	filter)
		case $verb in
		list)
			options='--config --json'
			case $prev in
			--config) compopt -o default; return ;;
			*) : ;;
			esac
			;;
		show)
			options='--config --json'
			case $prev in
			--config) compopt -o default; return ;;
			*) compopt -o default; words=$(_bailiff_filters) ;;
			esac
			;;
		test)
			options='--config --json'
			case $prev in
			--config) compopt -o default; return ;;
			*) compopt -o default; words=$(_bailiff_filters) ;;
			esac
			;;
		*) words='list show test' ;;
		esac
		;;
	config)
		options='--config --running --socket'
		case $prev in
		--config | --socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	reload)
		options='--json --socket'
		case $prev in
		--socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	import)
		options='--bans --database --dry-run --force --from --json --socket --to --verbose'
		case $prev in
		--database | --socket) compopt -o default; return ;;
		--from | --to) compopt -o dirnames; return ;;
		*) : ;;
		esac
		;;
	replay)
		options='--compare --config --export --failures --file --jail --json --since --until'
		case $prev in
		--compare | --config | --export | --file) compopt -o default; return ;;
		--jail) words=$(_bailiff_jails) ;;
		--since | --until) words='now today yesterday -1h -2d -7d' ;;
		*) : ;;
		esac
		;;
	top)
		options='--json --socket'
		case $prev in
		--socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	web)
		options='--json --socket'
		case $prev in
		--socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	stats)
		options='--config --export --file --geoip --jail --json --since --top --until'
		case $prev in
		--config | --export | --file | --geoip) compopt -o default; return ;;
		--jail) words=$(_bailiff_jails) ;;
		--since | --until) words='now today yesterday -1h -2d -7d' ;;
		--top) return ;;
		*) : ;;
		esac
		;;
	metrics)
		options='--openmetrics --output --report-socket --socket'
		case $prev in
		--output | --report-socket | --socket) compopt -o default; return ;;
		*) : ;;
		esac
		;;
	match)
		options='--config --cursor --explain --export --file --json --matched'
		case $prev in
		--config | --file) compopt -o default; return ;;
		--cursor | --explain) return ;;
		*) compopt -o default; words=$(_bailiff_filters) ;;
		esac
		;;
	version)
		options='--json'
		:
		;;
	esac
	if [[ $cur == -* ]]; then
		words=$options
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if declare -F __ltrim_colon_completions >/dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}

complete -F _bailiff bailiff
