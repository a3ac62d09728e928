# Completion of bailiff(1) for bash.

_bailiff_prefixes() {
	timeout 1 bailiff bans --json 2>/dev/null | grep -o '"prefix": *"[^"]*"' | cut -d'"' -f4
}

_bailiff_filters() {
	timeout 1 bailiff filter list --json 2>/dev/null | grep -o '"name":"[^"]*"' | cut -d'"' -f4
}

_bailiff() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= word words=
	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n : cur prev # an IPv6 address is one word
	fi
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-*) ;;
		*) command=$word && break ;;
		esac
	done
	COMPREPLY=()
	case ${prev#-} in
	-config | -compare | -file | -export | -socket | -geoip | config | compare | file | export | socket | geoip)
		if [[ $prev == -* && ! ($command == match && ${prev#-} == *export) ]]; then
			compopt -o default
			return
		fi
		;;
	esac
	case $command in
	'') words='status bans ban unban allow why firewall report check filter config reload import replay top stats match version help' ;;
	status) words='--all --json --socket' ;;
	reload | top) words='--json --socket' ;;
	import) words='--from --to --dry-run --force --verbose --bans --database --json --socket' ;;
	bans) words='--json --jail --observed --socket' ;;
	ban) words='--jail --for --reason --force --json --socket' ;;
	unban) words="--jail --all --json --socket" ;;
	allow) words='list add remove why refresh --for --comment --remove --config --lists --force --accept --json --socket' ;;
	why) words='--file --json --socket' ;;
	firewall) words='status verify repair remove --force --stop --json --socket' ;;
	report) words='list show retry drop test setup --dry-run --all --limit --config --file --mail --root --json --socket' ;;
	check) words='--config --json' ;;
	filter) words='list show test --config --json' ;;
	config) words='--config --running --socket' ;;
	replay) words='--file --export --since --until --config --compare --jail --failures --json' ;;
	stats) words='--file --export --since --until --config --jail --top --geoip --json' ;;
	match) words='--config --explain --cursor --file --export --matched --json' ;;
	version) words='--json' ;;
	esac
	case $command,$cur in
	unban,[!-]* | unban, | why,[!-]* | why,) words=$(_bailiff_prefixes) ;;
	filter,[!-]* | filter, | match,[!-]* | match,)
		compopt -o default
		words+=" $(_bailiff_filters)"
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if declare -F __ltrim_colon_completions >/dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}

complete -F _bailiff bailiff
