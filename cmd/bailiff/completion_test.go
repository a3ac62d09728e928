package main

import (
	"bytes"
	"flag"
	"fmt"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
)

// The files made from the list of commands: completion for bash, zsh and fish in this file, the synopsis and options of the manual page in
// manual_test.go. `go generate ./cmd/bailiff` writes them; TestGenerated fails when they are out of date.
const origin = "Generated from the list of commands by: go generate ./cmd/bailiff"

// offer is what shells suggest as the value of an option.
type offer struct {
	files, folders bool
	words          string    // fixed
	ask            cli.Words // asked of the program
}

// values are suggested by the placeholder of an option or argument. For placeholders that are missing here nothing is suggested.
var values = map[string]offer{
	"FILE":     {files: true},
	"PATH":     {files: true},
	"FOLDER":   {folders: true},
	"DURATION": {words: "10m 1h 2d 1w 4w forever"},
	"TIME":     {words: "now today yesterday -1h -2d -7d"},
	"SYSTEM":   {words: "postfix exim opensmtpd sendmail msmtp"},
	"JAIL":     {ask: cli.Jails},
	"SERVICE":  {ask: cli.Services},
}

// questions are the shells' calls of the program, each with the key whose strings they take from its JSON.
var questions = []struct {
	words     cli.Words
	call, key string
}{
	{cli.Banned, "bans --json", "prefix"},
	{cli.Allowed, "allow list --json", "prefix"},
	{cli.Filters, "filter list --json", "name"},
	{cli.Jails, "status --json", "name"},
	{cli.Destinations, "report list --json", "name"},
	{cli.Services, "check --json", "name"},
}

// askShell is a pipeline that prints the answer to a question. A daemon that does not answer must not hang the shell.
func askShell(call, key string) string {
	return fmt.Sprintf(`timeout 1 bailiff %s 2>/dev/null | grep -o '"%s": *"[^"]*"' | cut -d'"' -f4 | sort -u`, call, key)
}

// argument returns what is suggested for the arguments of a command.
func argument(c *cli.Command) offer {
	v := offer{ask: c.Completes}
	v.files = strings.Contains(c.Args, "FILE") || c.Completes == cli.Filters
	return v
}

// options are the options of a command in the order of their names.
func options(c *cli.Command) (l []*flag.Flag) {
	c.Flags.VisitAll(func(f *flag.Flag) { l = append(l, f) })
	return l
}

// names are the names of commands.
func names(commands []*cli.Command) string {
	var l []string
	for _, c := range commands {
		l = append(l, c.Name)
	}
	return strings.Join(l, " ")
}

// bashCompletion is the completion for bash.
func bashCompletion(commands []*cli.Command) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Completion of bailiff(1) for bash.\n# %s\n", origin)
	for _, q := range questions {
		line("_bailiff_%s() {\n\t%s\n}\n", q.words, askShell(q.call, q.key))
	}
	b.WriteString(`_bailiff() {
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
`)
	line("\t'') words='%s help' ;;", names(commands))
	for _, c := range commands {
		if len(c.Verbs) == 0 {
			line("\t%s)", c.Name)
			bashCommand(&b, c, "\t\t")
			line("\t\t;;")
			continue
		}
		line("\t%s)\n\t\tcase $verb in", c.Name)
		for _, v := range c.Verbs {
			line("\t\t%s)", v.Name)
			bashCommand(&b, v, "\t\t\t")
			line("\t\t\t;;")
		}
		line("\t\t*) words='%s' ;;\n\t\tesac\n\t\t;;", names(c.Verbs))
	}
	b.WriteString(`	esac
	if [[ $cur == -* ]]; then
		words=$options
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if declare -F __ltrim_colon_completions >/dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}

complete -F _bailiff bailiff
`)
	return b.Bytes()
}

// bashCommand sets options and words for one command, or returns early for values that are files.
func bashCommand(b *bytes.Buffer, c *cli.Command, indent string) {
	line := func(format string, args ...any) { fmt.Fprintf(b, indent+format+"\n", args...) }
	var all []string
	byValue := map[string][]string{} // statement, options
	var order []string
	for _, f := range options(c) {
		all = append(all, "--"+f.Name)
		if cli.Boolean(f) {
			continue
		}
		s := bashWords(values[cli.Placeholder(f)], "return")
		if byValue[s] == nil {
			order = append(order, s)
		}
		byValue[s] = append(byValue[s], "--"+f.Name)
	}
	line("options='%s'", strings.Join(all, " "))
	arg := bashWords(argument(c), ":")
	if len(order) == 0 {
		line("%s", arg)
		return
	}
	line("case $prev in")
	for _, s := range order {
		line("%s) %s ;;", strings.Join(byValue[s], " | "), s)
	}
	line("*) %s ;;\n%sesac", arg, indent)
}

// bashWords is the statement that offers a value; nothing is the statement where there is nothing to offer.
func bashWords(v offer, nothing string) string {
	var l []string
	switch {
	case v.folders:
		l = append(l, "compopt -o dirnames")
	case v.files:
		l = append(l, "compopt -o default")
	}
	switch {
	case v.ask != "":
		l = append(l, fmt.Sprintf("words=$(_bailiff_%s)", v.ask))
	case v.words != "":
		l = append(l, fmt.Sprintf("words='%s'", v.words))
	case v.files || v.folders:
		l = append(l, nothing)
	}
	if len(l) == 0 {
		return nothing
	}
	return strings.Join(l, "; ")
}

// zshCompletion is the completion for zsh.
func zshCompletion(commands []*cli.Command) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#compdef bailiff\n# Completion of bailiff(1) for zsh.\n# %s\n", origin)
	for _, q := range questions {
		files := ""
		if q.words == cli.Filters {
			files = "\n\t_files"
		}
		line("_bailiff_%s() {\n\tlocal -a found\n\tfound=(${(f)\"$(%s)\"})\n\tcompadd -a found%s\n}\n", q.words, askShell(q.call, q.key), files)
	}
	for _, c := range commands {
		if len(c.Verbs) > 0 {
			line("_bailiff_group_%s() {", c.Name)
			zshLevel(&b, "verb", c.Verbs)
			line("}\n")
		}
	}
	line("_bailiff() {")
	zshLevel(&b, "command", commands)
	line("}\n\n_bailiff \"$@\"")
	return b.Bytes()
}

// zshLevel completes a word that is one of several commands, then what belongs to the command.
func zshLevel(b *bytes.Buffer, what string, commands []*cli.Command) {
	line := func(format string, args ...any) { fmt.Fprintf(b, "\t"+format+"\n", args...) }
	line("local curcontext=$curcontext state line\n\tlocal -a commands")
	line("commands=(")
	for _, c := range commands {
		line("\t%s", zshQuote(c.Name+":"+strings.ReplaceAll(c.Short, ":", `\:`)))
	}
	if what == "command" {
		line("\t'help:list the commands'")
	}
	line(")\n\t_arguments -C '1:%s:->first' '*::argument:->rest' && return", what)
	line("if [[ $state == first ]]; then\n\t\t_describe -t commands %s commands\n\t\treturn\n\tfi", what)
	line("case $words[1] in")
	for _, c := range commands {
		if len(c.Verbs) > 0 {
			line("%s) _bailiff_group_%s ;;", c.Name, c.Name)
			continue
		}
		line("%s)\n\t\t_arguments %s\n\t\t;;", c.Name, strings.Join(zshSpecs(c), " \\\n\t\t\t"))
	}
	line("esac")
}

// zshSpecs are the arguments of _arguments.
func zshSpecs(c *cli.Command) (specs []string) {
	escape := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`)
	for _, f := range options(c) {
		_, text := flag.UnquoteUsage(f)
		text = "[" + escape.Replace(text) + "]"
		switch {
		case cli.Boolean(f):
			specs = append(specs, zshQuote("--"+f.Name+text))
		case repeatable(f):
			specs = append(specs, zshQuote("*--"+f.Name+"="+text+":"+cli.Placeholder(f)+":"+zshAction(values[cli.Placeholder(f)])))
		default:
			specs = append(specs, zshQuote("--"+f.Name+"="+text+":"+cli.Placeholder(f)+":"+zshAction(values[cli.Placeholder(f)])))
		}
	}
	if c.Args != "" {
		specs = append(specs, zshQuote("*:"+escape.Replace(c.Args)+":"+zshAction(argument(c))))
	}
	if len(specs) == 0 {
		specs = []string{"':'"}
	}
	return specs
}

func zshAction(v offer) string {
	switch {
	case v.ask != "":
		return "_bailiff_" + string(v.ask)
	case v.folders:
		return "_files -/"
	case v.files:
		return "_files"
	case v.words != "":
		return "(" + v.words + ")"
	}
	return ""
}

func zshQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fishCompletion is the completion for fish.
func fishCompletion(commands []*cli.Command) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Completion of bailiff(1) for fish.\n# %s\n", origin)
	for _, q := range questions {
		line("function __bailiff_%s\n    %s\nend\n", q.words, askShell(q.call, q.key))
	}
	b.WriteString(`# __bailiff_words are the words before the cursor that are no options, without "bailiff".
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
`)
	for _, c := range commands {
		line("complete -c bailiff -n __bailiff_first -a %s -d %s", c.Name, fishQuote(c.Short))
	}
	line("complete -c bailiff -n __bailiff_first -a help -d 'list the commands'")
	for _, c := range commands {
		on := "__bailiff_on " + c.Name
		if len(c.Verbs) == 0 {
			fishCommand(&b, c, on)
			continue
		}
		line("")
		for _, v := range c.Verbs {
			line("complete -c bailiff -n '__bailiff_first %s' -a %s -d %s", c.Name, v.Name, fishQuote(v.Short))
		}
		for _, v := range c.Verbs {
			fishCommand(&b, v, on+" "+v.Name)
		}
	}
	return b.Bytes()
}

func fishCommand(b *bytes.Buffer, c *cli.Command, on string) {
	b.WriteString("\n")
	for _, f := range options(c) {
		_, text := flag.UnquoteUsage(f)
		value := ""
		if !cli.Boolean(f) {
			value = fishValue(values[cli.Placeholder(f)])
		}
		fmt.Fprintf(b, "complete -c bailiff -n '%s' -l %s%s -d %s\n", on, f.Name, value, fishQuote(text))
	}
	if offer := fishOffer(argument(c)); offer != "" {
		fmt.Fprintf(b, "complete -c bailiff -n '%s'%s\n", on, offer)
	}
}

// fishValue is how an option takes a value.
func fishValue(v offer) string {
	if v.files || v.folders {
		return " -r -F" // a required value, which may be a file
	}
	return " -x" + fishOffer(v)
}

// fishOffer offers arguments.
func fishOffer(v offer) string {
	var l []string
	if v.ask != "" {
		l = append(l, "(__bailiff_"+string(v.ask)+")")
	}
	if v.words != "" {
		l = append(l, v.words)
	}
	offer := ""
	if v.files || v.folders {
		offer = " -F"
	}
	if len(l) > 0 {
		offer += " -a '" + strings.Join(l, " ") + "'"
	}
	return offer
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
