package config

import (
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

// addresses is a list of entries of an address list. Each knows the file and line that it comes from.
func addresses(dst *[]allow.Entry) value {
	v := many(dst, "list of addresses and prefixes", maxList, func(s string) (e allow.Entry, err *diag.Error) {
		e, bad := allow.ParseEntry(s)
		if bad != nil {
			return e, diag.Errors(bad)[0]
		}
		return e, nil
	}, allow.Entry.String)
	set := v.set
	v.set = func(n *yamldoc.Node) *diag.Error {
		if err := set(n); err != nil {
			return err
		}
		items, _ := list(n)
		for i := range *dst {
			(*dst)[i].Origin, (*dst)[i].Line = items[i].File, items[i].Line
		}
		return nil
	}
	return v
}

func parseGroup(s string) (string, *diag.Error) {
	if len(s) > 64 || !isWord(s, letters+digits+"_.-") {
		return "", diag.Errorf("%q is not the name of a group", diag.Clip(s)).WithHint("write names as /etc/group has them: [sudo, wheel]")
	}
	return s, nil
}

func checkListName(s string) *diag.Error {
	if len(s) > 32 || !isWord(s, lower+digits+"-") || s[0] == '-' {
		return diag.Errorf("%q cannot be the name of a list", diag.Clip(s)).WithHint("names are made of a-z, 0-9 and -, at most 32 of them")
	}
	return nil
}

// checkCatalogued returns a check of names that stand for a list of a catalogue.
func checkCatalogued(names []string) func(string) *diag.Error {
	return func(s string) *diag.Error {
		if slices.Contains(names, s) {
			return nil
		}
		e := diag.Errorf("there is no list %q in the catalogue", diag.Clip(s))
		e.Hint = diag.DidYouMean(s, names, "the catalogue has "+strings.Join(names, ", ")+"; another list is written NAME: {url: https://…}")
		return e
	}
}

func parseListURL(s string) (string, *diag.Error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || len(s) > 2000:
		return "", diag.Errorf("%q is not a URL", diag.Clip(s)).WithHint("write https://host/path")
	case u.Scheme == "file":
		if u.Host != "" || !path.IsAbs(u.Path) {
			return "", diag.Errorf("%q does not name a file", diag.Clip(s)).WithHint("write file:///absolute/path; allow.files reads a file of this host without a copy")
		}
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return "", diag.Errorf("%q is not a URL that can be fetched", diag.Clip(s)).WithHint("write https://host/path")
	case u.User != nil:
		return "", diag.Errorf("the URL holds a user name").WithHint("all users may read the configuration; a published list needs no password")
	}
	return s, nil
}

// list returns a published allow list with the files' settings, and checks that its keys are consistent.
func (b *Builder) list(name string) allow.Published {
	at := "allow.lists." + name
	p := allow.NewPublished(name)
	b.apply(at, listFields(&p))
	b.checkList(at, &p, allow.Catalogue(), "add addresses to the allow list")
	return p
}

// blockList returns a block list. jails are the names of all jails.
func (b *Builder) blockList(name string, jails []string) blocklist.List {
	at := "lists." + name
	l := blocklist.New(name)
	b.apply(at, blockFields(&l))
	if selects := len(l.Countries)+len(l.Systems) > 0; selects && b.set[at+".format"] == nil {
		l.Format = blocklist.FormatMMDB
	} else if selects != (l.Format == blocklist.FormatMMDB) {
		e := diag.Errorf("the list %s has format %s, which has no countries and no systems", name, l.Format).WithHint("write format: mmdb, or leave countries and systems out")
		if !selects {
			e = diag.Errorf("the list %s is a database, and nothing says what to take from it", name).WithHint("write countries: [DE, AT], or systems: [AS64496]; others: true takes all but these")
		}
		b.failKey(at, "format", e)
	}
	if l.Others && l.Format != blocklist.FormatMMDB {
		b.failKey(at, "others", diag.Errorf("the list %s has no countries and no systems, and others would be everybody", name).WithHint("write countries: [DE, AT], or leave others out"))
	}
	if l.Format == blocklist.FormatMMDB && len(l.URLs) == 0 {
		b.failKey(at, "url", diag.Errorf("the list %s has no database", name).WithHint("write url: file:///var/lib/GeoIP/GeoLite2-Country.mmdb; geoipupdate keeps it there, or in /usr/share/GeoIP"))
	}
	for _, j := range l.Jails {
		if !slices.Contains(jails, j) {
			e := diag.Errorf("there is no jail %q", diag.Clip(j))
			e.Hint = diag.DidYouMean(j, jails, "bailiff config shows all jails")
			b.failKey(at, "jails", e)
		}
	}
	b.checkList(at, &l.Published, blocklist.Catalogue(), "have any address blocked")
	switch {
	case l.Column != 1 && l.Format != blocklist.FormatCSV:
		b.failKey(at, "column", diag.Errorf("the list %s has format %s, which has no columns", name, l.Format).WithHint("write format: csv, or leave column out"))
	case b.failed(at + ".credential"), b.failed(at + ".header"):
	case l.Credential == "" && l.KeyHeader != "":
		b.failKey(at, "header", diag.Errorf("the list %s has no key for the header %s", name, l.KeyHeader).WithHint("write credential: NAME"))
	case l.Credential == "":
	case l.KeyHeader == "":
		b.failKey(at, "credential", diag.Errorf("the list %s has a key, and nothing says in which header it is sent", name).WithHint("write header: Authorization, with a credential that holds: Bearer KEY"))
	case slices.ContainsFunc(l.URLs, func(u string) bool { return !strings.HasPrefix(u, "https:") }):
		b.failKey(at, "credential", diag.Errorf("the key of the list %s would be sent without encryption", name).WithHint("write https:, or leave credential out"))
	}
	return l
}

// parseCountry reads an ISO 3166 code.
func parseCountry(s string) (string, *diag.Error) {
	code := strings.ToUpper(s)
	if len(s) != 2 || !isWord(s, letters) {
		return "", diag.Errorf("%q is not the code of a country", diag.Clip(s)).WithHint("write two letters, as ISO 3166 has them: [DE, AT]")
	}
	return code, nil
}

// parseSystem reads the number of an autonomous system: AS64496, or 64496.
func parseSystem(s string) (string, *diag.Error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToUpper(s), "AS"), 10, 32)
	if err != nil || n == 0 {
		return "", diag.Errorf("%q is not the number of an autonomous system", diag.Clip(s)).WithHint("write [AS64496]")
	}
	return "AS" + strconv.FormatUint(n, 10), nil
}

// failKey adds an error about a key of an entry, unless the key has one already.
func (b *Builder) failKey(at, key string, err *diag.Error) {
	if !b.failed(at + "." + key) {
		b.fail(b.place(at+"."+key, at), at+"."+key, err)
	}
}

// checkList checks that the keys of a published list are consistent. danger is what an attacker on the network path could do.
func (b *Builder) checkList(at string, p *allow.Published, catalogue []string, danger string) {
	isJSON := p.Format == blocklist.FormatJSON || p.Format == blocklist.FormatLines
	switch {
	case len(p.URLs) == 0:
		e := diag.Errorf("the list %s has no url", p.Name)
		e.Hint = diag.DidYouMean(p.Name, catalogue, "write url: https://host/path; the catalogue has "+strings.Join(catalogue, ", "))
		b.failKey(at, "url", e)
	case isJSON && len(p.Pointers) == 0:
		b.failKey(at, "pointers", diag.Errorf("the list %s is JSON, and nothing says where in it the addresses are", p.Name).WithHint("write pointers: [/prefixes/*/ip_prefix]"))
	case !isJSON && len(p.Pointers) > 0:
		b.failKey(at, "pointers", diag.Errorf("the list %s is a text, which has no pointers", p.Name).WithHint("write format: json, or leave pointers out"))
	}
	for _, u := range p.URLs {
		if strings.HasPrefix(strings.ToLower(u), "http:") && !p.Insecure {
			b.failKey(at, "url", diag.Errorf("%q is not encrypted: anyone on the network path could %s", diag.Clip(u), danger).WithHint("write https:, or insecure: true if you know why"))
		}
	}
}

// validHeaderName accepts a word that may be the name of an HTTP header (RFC 9110, 5.1), except those that HTTP itself needs.
func validHeaderName(s string) bool {
	own := []string{"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
	return len(s) <= 64 && isWord(s, letters+digits+"-") && !slices.Contains(own, strings.ToLower(s))
}
