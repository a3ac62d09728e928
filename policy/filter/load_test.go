package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/diag"
)

const good = `name: t
trust: {units: [t.service], uid: 0}
`

// TestBadFiles: an error gives its place and what was probably meant.
func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ file, want, hint string }{
		{"", "f.yaml:1:1: the file is empty", "a filter has at least name, trust and patterns"},
		{"[]", "f.yaml:1:1: must be a mapping, not a list", ""},
		{"name: t\n", "f.yaml:1:1: has no trust", ""},
		{good + "patern: []\n", "f.yaml:3:1: patern: there is no such key", "did you mean patterns?"},
		{good + "patterns: []\n", "f.yaml:3:11: patterns: there are none", ""},
		{good + "patterns:\n  - {name: a b, text: x}\n", `f.yaml:4:5: patterns: "a b" is not a name`, ""},
		{good + "patterns:\n  - {name: a, text: x, regexp: y}\n", "f.yaml:4:5: patterns.a: must have either text or regexp", ""},
		{good + "patterns:\n  - {name: a, text: x}\n  - {name: a, text: y}\n", "f.yaml:5:5: patterns.a: the name is already used", ""},
		{good + "patterns:\n  - {name: a, text: 'from <adr>'}\n", "f.yaml:4:27: patterns.a.text: there is no field <adr>", "did you mean <addr>?"},
		{good + "patterns:\n  - {name: a, text: 'from <addr'}\n", "f.yaml:4:27: patterns.a.text: < is never closed", `write <addr>, or \< for the character itself`},
		{good + "patterns:\n  - {name: a, text: 'x {a|b'}\n", "f.yaml:4:24: patterns.a.text: { is never closed", `write \{ for the character itself`},
		{good + "patterns:\n  - {name: a, text: 'x {a}'}\n", "f.yaml:4:24: patterns.a.text: { } with one alternative", `write {…}? for what may be missing, \{ for the character itself`},
		{good + "patterns:\n  - {name: a, text: 'a|b'}\n", "f.yaml:4:23: patterns.a.text: | stands outside of braces", `write {a|b} for alternatives, \| for the character itself`},
		{good + "patterns:\n  - {name: a, text: 'a}b'}\n", "f.yaml:4:23: patterns.a.text: \"}\" closes nothing", `write \} for the character itself`},
		{good + "patterns:\n  - {name: a, text: 'a\\b'}\n", `f.yaml:4:23: patterns.a.text: a \ must stand before one of < > { } | \ ?`, `write \\ for a backslash`},
		{good + "patterns:\n  - {name: a, text: '<addr> <addr>'}\n", "f.yaml:4:21: patterns.a.text: has two <addr> on one way through it; write <ip> for the one that is not the client's", ""},
		{good + "patterns:\n  - {name: a, text: '<user> <user:word> <addr>'}\n", "f.yaml:4:21: patterns.a.text: captures the same thing twice on one way through it", ""},
		{good + "patterns:\n  - {name: a, text: '<addr:word>'}\n", "f.yaml:4:22: patterns.a.text: <addr:word> captures nothing that can be captured", ""},
		{good + "patterns:\n  - {name: a, text: '" + strings.Repeat("{a|b}", 12) + "'}\n", "f.yaml:4:21: patterns.a.text: has more than 2048 ways through its alternatives; write it as several texts", ""},
		{good + "patterns:\n  - {name: a, text: '" + strings.Repeat("{", 20) + "'}\n", "f.yaml:4:38: patterns.a.text: braces are nested more than 16 deep", ""},
		{good + "patterns:\n  - {name: a, text: 'x<once:addr>'}\nprefix: ['<once:addr>']\n", "f.yaml:5:10: prefix[0]: has no text just before <once:addr> of which there should be one only", ""},
		{good + "patterns:\n  - {name: a, text: '{a|b}<once:addr>'}\n", "f.yaml:4:21: patterns.a.text: has no text just before <once:addr> of which there should be one only", ""},
		{good + "patterns:\n  - {name: a, text: '<quoted> <addr>'}\n", `f.yaml:4:21: patterns.a.text: has a <quoted> that no " follows`, ""},
		{good + "patterns:\n  - {name: a, text: '<text> <logfmt> <addr>'}\n", "f.yaml:4:21: patterns.a.text: has a <logfmt> after a field with more than one possible end", ""},
		{good + "patterns:\n  - {name: a, text: '<json><addr>'}\n", "f.yaml:4:21: patterns.a.text: has a <json> that is followed by neither text nor the line's end", ""},
		{good + "patterns:\n  - {name: a, text: '<user:json>'}\n", "f.yaml:4:22: patterns.a.text: <user:json> captures nothing that can be captured", ""},
		{good + "max_line: 10\npatterns:\n  - {name: a, text: x}\n", `f.yaml:3:11: max_line: "10" is not a number from 64 to 4096`, ""},
		{good + "patterns:\n  - {name: a, text: x, kind: fail}\n", `f.yaml:4:30: patterns.a.kind: "fail" is not a kind`, "write failure, success, context, delivery or void"},
		{good + "patterns:\n  - {name: a, text: x, stage: 16}\n", `f.yaml:4:31: patterns.a.stage: "16" is not a number from 0 to 14`, "write end for the last stage"},
		{good + "patterns:\n  - {name: a, text: x, max_retry: 0}\n", `f.yaml:4:35: patterns.a.max_retry: "0" is not a number from 1 to 1000`, ""},
		{good + "patterns:\n  - {name: a, text: x, invalid_user: 1}\n", `f.yaml:4:38: patterns.a.invalid_user: "1" is neither true nor false`, ""},
		{good + "patterns:\n  - {name: a, text: x, kind: context, invalid_user: true}\n", "f.yaml:4:5: patterns.a: is not a failure, so max_retry, invalid_user, provisional, after_failure and distinct do not apply to it", ""},
		{good + "patterns:\n  - {name: a, text: x, modes: [normel]}\n", `f.yaml:4:32: patterns.a.modes: there is no mode "normel"`, "did you mean normal?"},
		{good + "define: [x]\npatterns:\n  - {name: a, text: 'x <addr>'}\n", "f.yaml:3:9: define: must be a mapping, not a list", "write define: {client: '[<addr>]:<port>'} and <client> in the templates"},
		{good + "define: {addr: x}\npatterns:\n  - {name: a, text: 'x <addr>'}\n", "f.yaml:3:10: define.addr: cannot be the name of a fragment: it is a field's, or not made of letters, digits, - and _", ""},
		{good + "define: {a: '<b>', b: '<addr>'}\npatterns:\n  - {name: a, text: '<b>'}\n", "f.yaml:3:14: define.a: there is no field <b>", ""},
		{good + "define: {client: '<addr>'}\npatterns:\n  - {name: a, text: 'x <clint>'}\n", "f.yaml:5:24: patterns.a.text: there is no field <clint>", "did you mean <client>?"},
		{good + "define: {client: '.*<addr>'}\npatterns:\n  - {name: a, text: 'x <client>'}\n", `f.yaml:3:19: define.client: ".*" looks like a regular expression`, "write <text> for any text, <word> for one without blanks, {a|b} for alternatives, or regexp: in place of text:; \\. for the character itself"},
		{good + "define: {a: '" + strings.Repeat("x", 1500) + "', b: '<a><a>'}\npatterns:\n  - {name: a, text: 'x <addr>'}\n", "f.yaml:3:1524: define.b: is longer than 2048 bytes when its fragments are written out", ""},
		// The names that were used before the first release.
		{good + "lead: ['x: ']\npatterns:\n  - {name: a, text: 'x <addr>'}\n", `f.yaml:3:1: lead: the key "lead" is now called "prefix"`, "write prefix"},
		{good + "cut: 505\npatterns:\n  - {name: a, text: 'x <addr>'}\n", `f.yaml:3:1: cut: the key "cut" is now called "max_line"`, "write max_line"},
		{good + "join_by: address\npatterns:\n  - {name: a, text: 'x <addr>'}\n", `f.yaml:3:1: join_by: the key "join_by" is now called "correlate_by"`, "write correlate_by"},
		{good + "parallel: true\npatterns:\n  - {name: a, text: 'x <addr>'}\n", `f.yaml:3:1: parallel: the key "parallel" is now called "parallel_logins"`, "write parallel_logins"},
		{good + "patterns:\n  - {name: a, text: 'x <addr>', step: 4}\n", `f.yaml:4:33: patterns.step: the key "step" is now called "stage"`, "write stage"},
		{good + "patterns:\n  - {name: a, text: 'x <addr>', unknown: true}\n", `f.yaml:4:33: patterns.unknown: the key "unknown" is now called "invalid_user"`, "write invalid_user"},
		{good + "patterns:\n  - {name: a, text: 'x <addr>', transport: syslog}\n", `f.yaml:4:33: patterns.transport: the key "transport" is now called "require"`, "write require: message"},
		{good + "patterns:\n  - {name: a, text: 'x <addr>', kind: join}\n", `f.yaml:4:39: patterns.a.kind: the kind "join" is now called "context"`, "write context"},
		{good + "patterns:\n  - {name: a, text: 'x <addr>', provisional: nameless}\n", `f.yaml:4:46: patterns.a.provisional: the value "nameless" is now called "without_user"`, "write without_user"},
		{good + "patterns:\n  - {name: a, text: 'x <own:word> <addr>'}\n", `f.yaml:4:24: patterns.a.text: the field <own:word> is now called <trusted:word>`, "write <trusted:word>"},
		{good + "patterns:\n  - {name: a, regexp: 'a('}\n", "f.yaml:4:23: patterns.a.regexp: is not a regular expression: missing closing ): `a(`", ""},
		{good + "patterns:\n  - {name: a, regexp: '(?P<ip>x)'}\n", `f.yaml:4:23: patterns.a.regexp: has a group named "ip"; groups are addr, port, user, id, source and count`, ""},
		{"name: t\ntrust: {units: ['sshd@*.service'], uid: 0}\npatterns: [{name: a, text: x}]\n", `f.yaml:2:17: trust.units: "sshd@*.service" is a pattern; the journal knows exact names only`, "instances of name@.service are all in system-name.slice: name that slice instead"},
		{"name: t\ntrust: {units: [sshd], uid: 0}\npatterns: [{name: a, text: x}]\n", `f.yaml:2:17: trust.units: "sshd" is not the name of a unit`, "write sshd.service"},
		{"name: t\ntrust: {units: [a.service]}\npatterns: [{name: a, text: x}]\n", "f.yaml:2:8: trust: has no uid", "write uid: 0, uid: system (below 1000, or of DynamicUser=), a list or any; a user's own program may run inside a service's unit"},
		{"name: t\ntrust: {uid: 0}\npatterns: [{name: a, text: x}]\n", "f.yaml:2:8: trust: names no units, slices, containers or user_units, so no entry would be trusted", ""},
		{"name: t\ntrust: {units: [a.service], uid: 0, require: stdout}\npatterns: [{name: a, text: x}]\n", `f.yaml:2:46: trust.require: "stdout" is not message`, "write require: message, or leave it out to accept lines of standard output too"},
		{"name: t\ntrust: {units: [a.service], uid: [system, root]}\npatterns: [{name: a, text: x}]\n", `f.yaml:2:43: trust.uid: "root" is not a user id`, "write a number, system (below 1000, or of DynamicUser=) or any"},
		{good + "jail: on\npatterns: [{name: a, text: x}]\n", `f.yaml:3:7: jail: "on" is neither auto nor off`, ""},
		{good + "patterns: [{name: a, text: '<string> <addr>'}]\n", `f.yaml:3:28: patterns.a.text: has a <string> that no " follows`, ""},
		{good + "prefix: ['<text>: ']\npatterns: [{name: a, text: x}]\n", "f.yaml:3:10: prefix[0]: may be empty, or holds free text", ""},
		{good + "patterns: [{name: a, text: 'x <addr>'}]\ntests:\n  - {line: x 192.0.2.1, address: 192.0.2.2}\n", `f.yaml:5:5: tests: mode normal: expected address 192.0.2.2, found 192.0.2.1: "x 192.0.2.1"`, ""},
		{good + "patterns: [{name: a, text: 'x <addr>'}]\ntests:\n  - miss: x 192.0.2.1\n", `f.yaml:5:5: tests: mode normal: must not match, but a does: "x 192.0.2.1"`, ""},
		{good + "patterns: [{name: a, text: 'x <addr>'}]\ntests:\n  - {line: y 192.0.2.1}\n", `f.yaml:5:5: tests: mode normal: must match, but no pattern does: "y 192.0.2.1"`, ""},
		{good + "patterns: [{name: a, text: 'x <addr>'}]\ntests:\n  - {line: x 192.0.2.1, pattern: b}\n", `f.yaml:5:34: tests[0].pattern: there is no pattern "b"`, ""},
		// leftovers of fail2ban and of regular expressions
		{"[Definition]\nfailregex = ^x <HOST>$\n", "f.yaml:1:1: is a filter of fail2ban's", "bailiff import translates it"},
		{good + "failregex: x\n", "f.yaml:3:1: failregex: there is no such key", "that is fail2ban's: here it is patterns, each with a name and a text (or regexp); bailiff import translates whole filters"},
		{good + "patterns:\n  - {name: a, text: 'from <HOST>'}\n", "f.yaml:4:27: patterns.a.text: there is no field <HOST>", "did you mean <addr>? It takes what fail2ban's <HOST> does, but no host names"},
		{good + "patterns:\n  - {name: a, text: '<F-USER>x</F-USER> <addr>'}\n", "f.yaml:4:22: patterns.a.text: there is no field <F-USER>", "did you mean <user>? It stands for what fail2ban writes between <F-USER> and </F-USER>"},
		{good + "patterns:\n  - {name: a, text: 'ü <username> <addr>'}\n", "f.yaml:4:24: patterns.a.text: there is no field <username>", "did you mean <user>?"},
		{good + "patterns:\n  - {name: a, text: '^from <addr>$'}\n", `f.yaml:4:22: patterns.a.text: "^f" looks like a regular expression`, `a template always takes the whole message: leave it out, or write \^ for the character itself`},
		{good + "patterns:\n  - {name: a, text: 'from .* <addr>'}\n", `f.yaml:4:27: patterns.a.text: ".*" looks like a regular expression`, `write <text> for any text, <word> for one without blanks, {a|b} for alternatives, or regexp: in place of text:; \. for the character itself`},
		{good + "patterns:\n  - {name: a, text: 'from \\S+ <addr>'}\n", `f.yaml:4:27: patterns.a.text: a \ must stand before one of < > { } | \ ?`, `a template is no regular expression: write <word> for \S+, or regexp: in place of text:`},
		{good + "patterns:\n  - {name: a, regexp: 'x(?!y) (?P<addr>\\S+)'}\n", "f.yaml:4:23: patterns.a.regexp: is not a regular expression: invalid or unsupported Perl syntax: `(?!`", "there is no looking around, which would cost more than linear time: a pattern of kind context before this one can take away what must not match"},
		{good + "patterns:\n  - {name: a, regexp: 'x (?P<host>\\S+)'}\n", `f.yaml:4:23: patterns.a.regexp: has a group named "host"; groups are addr, port, user, id, source and count`, "did you mean (?P<addr>…)?"},
		{good + "patterns:\n  - {name: a, regexp: 'x from <HOST>'}\n", "f.yaml:4:23: patterns.a.regexp: holds <HOST>, a tag of fail2ban's that has no meaning here", `write (?P<addr>\S+)`},
		// no column is known, since the text is escaped in the file
		{good + "patterns:\n  - {name: a, text: \"it's\\t<adr>\"}\n", "f.yaml:4:21: patterns.a.text: at byte 6: there is no field <adr>", "did you mean <addr>?"},
		{good + "patterns:\n  - name: a\n    text: from <adr>\n", "f.yaml:5:16: patterns.a.text: there is no field <adr>", "did you mean <addr>?"},
		// a wrong kind of value, wrong indentation, what is missing
		{good + "patterns:\n  - {text: x}\n", "f.yaml:4:5: patterns: has no name", "give each pattern a name of letters, digits, - and _"},
		{good + "patterns:\n  name: a\n", "f.yaml:4:3: patterns: must be a list, not a mapping", "begin each of them with a dash: - {…}"},
		{good + "patterns:\n  - {name: a, text: x, weight: [1]}\n", "f.yaml:4:32: patterns.a.weight: a list is not a number from 1 to 255", ""},
		{good + "patterns:\n  - {name: a, text: x, kind: Failure}\n", `f.yaml:4:30: patterns.a.kind: "Failure" is not a kind`, "did you mean failure?"},
		{good + "patterns:\n - name: a\n    text: x\n", "f.yaml:5:1: is not YAML: mapping values are not allowed in this context", `a text that holds ": " needs quotes; and the keys of one entry begin in the same column`},
		{good + "patterns: [{name: a, text: login failed}]\n", "f.yaml:3:11: patterns: no pattern finds an address, so nobody would be banned", "write <addr> where the daemon names the client, (?P<addr>\\S+) in a regexp"},
		{good + "patterns: [{name: a, text: 'x <addr>'}]\ntests:\n  - {line: x 192.0.2.1}\n", `f.yaml:5:5: tests: mode normal: expected no address, found 192.0.2.1: "x 192.0.2.1"`, "write address: 192.0.2.1"},
		{good + "patterns: [{name: a, text: 'x <addr> y'}]\ntests:\n  - {line: x 192.0.2.1 z, address: 192.0.2.1}\n", `f.yaml:5:5: tests: mode normal: must match, but no pattern does: "x 192.0.2.1 z"`, `a (line 3) stopped after "x 192.0.2.1 " and expected " y"; bailiff match --explain shows more`},
		// what may be missing
		{good + "patterns: [{name: a, text: '{from <addr>}?'}]\n", "f.yaml:3:28: patterns.a.text: may match the empty line", ""},
		{good + "prefix: ['{from <addr>}?']\npatterns: [{name: a, text: 'x <addr>'}]\n", "f.yaml:3:10: prefix[0]: may match the empty line", ""},
		{good + "patterns: [{name: a, regexp: 'login failed(?: from (?P<addr>\\S+))?'}]\ntests:\n  - {line: login failed}\n", `f.yaml:3:30: patterns.a: does not match a line made from it: "login failed"`, ""},
	} {
		_, err := Parse("f.yaml", []byte(c.file))
		var e *diag.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: %v, wanted %s", c.file, err, c.want)
			continue
		}
		if got, _, _ := strings.Cut(err.Error(), "\n"); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.file, got, c.want)
		}
		if c.hint != "" && e.Hint != c.hint {
			t.Errorf("%q:\n got hint %s\nwant hint %s", c.file, e.Hint, c.hint)
		}
	}
}

// TestForgery: patterns that a client could turn against somebody else are refused.
func TestForgery(t *testing.T) {
	for _, c := range []struct{ patterns, want string }{
		// fail2ban's classic: the address is sought from the left
		{`[{name: a, regexp: 'login of .*? from (?P<addr>\S+) failed.*'}]` + "\ntests: [{line: login of bob from 192.0.2.1 failed, address: 192.0.2.1}]", "is taken for the address 203.0.113.99 by a"},
		{`[{name: a, text: 'login of <user> from <addr> failed: <text>'}]`, "has text of the client's on both sides of <addr>"},
		{`[{name: a, text: 'login of <user> from <addr> failed'}, {name: b, text: 'login of <user:word> from <addr> <trusted>'}]`, "is taken for the address 203.0.113.99 by b"},
		{`[{name: a, text: 'login of <user> from <addr> port <port>'}, {name: b, text: 'login of <user> from <addr> port <port>: <word>'}]`, "is taken for the address 203.0.113.99 by a"},
		{`[{name: a, text: 'login of <user> from <addr> port <port>'}, {name: b, text: 'login of <user> from <addr> port <port>: <token>'}]`, ""},
		// another pattern of the file takes the forged line
		{`[{name: a, text: '<trusted> refused <addr>'}, {name: b, text: 'user <user> is unknown'}]` + "\ntests: []", ""},
		{`[{name: a, text: 'user <trusted> refused <addr>{ is unknown}?'}, {name: b, text: 'user <user> is unknown'}]`, "is taken for the address 203.0.113.99 by a"},
		// a failure that can be made a success
		{`[{name: a, kind: success, text: 'login of <user> ok from <addr>'}, {name: b, text: 'login of <user> from <addr>'}]`, "makes it a line of a"},
		// a line that can be hidden
		{`[{name: a, regexp: 'from (?P<addr>\S+) user (?P<user>\w+)'}]` + "\ntests: [{line: from 192.0.2.1 user bob, address: 192.0.2.1, user: bob}]", ""},
		{`[{name: a, text: 'x <addr>'}, {name: b, text: 'x <addr>'}]`, "is never reached"},
		{`[{name: a, regexp: 'from (?P<addr>\S+)'}]`, "has no test line"},
		// and what is safe passes
		{`[{name: a, text: 'login of <user> from <addr> failed'}]`, ""},
		{`[{name: a, text: 'from <addr>: login of <user> failed: <text>'}]`, ""},
		{`[{name: a, text: 'user "<user:string>" from <addr>: "<string>"'}]`, ""},
		// between quotes that the daemon does not escape
		{`[{name: a, text: 'user "<user:quoted>" is wrong, client: <addr>, request: "<text>"'}]`, "is taken for the address 203.0.113.99 by a"},
		{`[{name: a, text: '\{<json>"user":"<user:string>"<json>"ip":"<addr>"<json>\}'}]`, ""},
		{`[{name: a, text: 'level=info<logfmt> ip=<addr><logfmt>'}]`, ""},
		{`[{name: a, text: 'user "<user>" is wrong, client: <once:addr>, request: "<text>"'}]`, ""},
		// quoted by the daemon, but taken for something that is not
		{`[{name: a, text: 'login of <user> from <addr>, <logfmt>'}]`, "has a <logfmt> after a field with more than one possible end"},
		// any repetition holds what a client wrote, not only that of a class
		{`[{name: a, regexp: 'login "(?:\\.|[^\\])*?" from (?P<addr>\S+) .*'}]` + "\ntests: [{line: 'login \"bob\" from 192.0.2.1 failed', address: 192.0.2.1}]", "is taken for the address 203.0.113.99 by a"},
		{`[{name: a, regexp: 'login of (?:\S+ )+?from (?P<addr>\S+) .*'}]` + "\ntests: [{line: 'login of bob from 192.0.2.1 failed', address: 192.0.2.1}]", "is taken for the address 203.0.113.99 by a"},
		{`[{name: a, regexp: 'login of (?:(?P<user>\w+)|[. ])+? from (?P<addr>\S+) .*'}]` + "\ntests: [{line: 'login of bob from 192.0.2.1 failed', address: 192.0.2.1, user: bob}]", "is taken for the address 203.0.113.99 by a"},
		{`[{name: a, regexp: 'login of (?:[^ ]{6}){1,9}.{0,5}? from (?P<addr>\S+) .*'}]` + "\ntests: [{line: 'login of bobbob from 192.0.2.1 failed', address: 192.0.2.1}]", "is taken for the address 203.0.113.99 by a"},
		// quoted by a daemon that escapes quotes, which the expression counts on
		{`[{name: a, regexp: 'login "(?P<user>(?:[^"\\]|\\.)*)" from (?P<addr>\S+) .*'}]` + "\ntests: [{line: 'login \"bob\" from 192.0.2.1 failed', address: 192.0.2.1, user: bob}]", ""},
		{`[{name: a, regexp: 'login "(?:[^"]|\\")*" from (?P<addr>\S+) .*'}]` + "\ntests: [{line: 'login \"bob\" from 192.0.2.1 failed', address: 192.0.2.1}]", "is taken for the address 203.0.113.99 by a"},
		{`[{name: a, regexp: 'login of (?P<user>.*) from (?P<addr>\S+) failed'}]` + "\ntests: [{line: login of bob from 192.0.2.1 failed, address: 192.0.2.1, user: bob}]", ""},
	} {
		_, err := Parse("f.yaml", []byte(good+"patterns: "+c.patterns+"\n"))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.patterns, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, wanted …%s", c.patterns, err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	if _, err := LoadBuiltin("sshdd"); err == nil || err.Error() != `there is no built-in filter "sshdd": did you mean sshd?` {
		t.Error(err)
	}
	f, err := LoadBuiltin("sshd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Mode("agressive"); err == nil || err.Error() != `filter sshd has no mode "agressive": did you mean aggressive?` {
		t.Error(err)
	}
	if _, err := f.Mode("all"); err == nil || err.Error() != `filter sshd has no mode "all": it has normal, ddos, extra, aggressive` {
		t.Error(err)
	}
}

// TestFragments: a fragment means the same as its text in its place, whether in a literal, an alternative or a prefix.
func TestFragments(t *testing.T) {
	compiled := func(text string) (l []string) {
		f, err := read("f.yaml", []byte("name: t\ntrust: {units: [t.service], uid: 0}\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range append(slices.Clone(f.rules().prefixes[0].prog.ins), f.rules().patterns[0].prog.ins...) {
			in.first, in.alone = nil, nil
			l = append(l, fmt.Sprintf("%+v", in))
		}
		return l
	}
	with := compiled("define: {at: 'port <port>', from: ' from <addr> <at>', why: '{bad|{un}?known}'}\nprefix: ['[<why>]: ']\npatterns: [{name: a, text: 'login<from>{, <why> user|<why>}?'}]\n")
	without := compiled("prefix: ['[{bad|{un}?known}]: ']\npatterns: [{name: a, text: 'login from <addr> port <port>{, {bad|{un}?known} user|{bad|{un}?known}}?'}]\n")
	if !slices.Equal(with, without) {
		t.Errorf("%q\n%q", with, without)
	}
}
