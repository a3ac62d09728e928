package config

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"bailiff/policy/allow"
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

// checkCatalogued checks a name that stands for a list of the catalogue.
func checkCatalogued(s string) *diag.Error {
	if slices.Contains(allow.Catalogue(), s) {
		return nil
	}
	e := diag.Errorf("there is no list %q in the catalogue", diag.Clip(s))
	e.Hint = diag.DidYouMean(s, allow.Catalogue(), "the catalogue has "+strings.Join(allow.Catalogue(), ", ")+"; another list is written NAME: {url: https://…}")
	return e
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

// list returns a published list with what files say of it, and checks what its keys say together.
func (b *Builder) list(name string) allow.Published {
	at := "allow.lists." + name
	p := allow.NewPublished(name)
	b.apply(at, listFields(&p))
	fail := func(key string, err *diag.Error) {
		if !b.failed(at + "." + key) {
			b.fail(b.place(at+"."+key, at), at+"."+key, err)
		}
	}
	switch {
	case len(p.URLs) == 0:
		e := diag.Errorf("the list %s has no url", name)
		e.Hint = diag.DidYouMean(name, allow.Catalogue(), "write url: https://host/path; the catalogue has "+strings.Join(allow.Catalogue(), ", "))
		fail("url", e)
	case p.Format == allow.FormatJSON && len(p.Pointers) == 0:
		fail("pointers", diag.Errorf("the list %s is JSON, and nothing says where in it the addresses are", name).WithHint("write pointers: [/prefixes/*/ip_prefix]"))
	case p.Format != allow.FormatJSON && len(p.Pointers) > 0:
		fail("pointers", diag.Errorf("the list %s is a text, which has no pointers", name).WithHint("write format: json, or leave pointers out"))
	}
	for _, u := range p.URLs {
		if strings.HasPrefix(strings.ToLower(u), "http:") && !p.Insecure {
			fail("url", diag.Errorf("%q is not encrypted: anyone on the network path could add addresses to the allow list", diag.Clip(u)).WithHint("write https:, or insecure: true if you know why"))
		}
	}
	return p
}
