package web

import (
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
)

// file is one of the page's files.
type file struct {
	kind string // Content-Type
	data []byte
}

var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// load reads the page's files. They are served by their exact names only, so that no path can lead elsewhere.
func load(page fs.FS) (map[string]file, error) {
	files := make(map[string]file)
	names, err := fs.Glob(page, "*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		kind, ok := kinds[path.Ext(name)]
		if !ok {
			continue // manifest.json is Cockpit's
		}
		data, err := fs.ReadFile(page, name)
		if err != nil {
			return nil, err
		}
		files["/"+name] = file{kind, data}
	}
	index, ok := files["/index.html"]
	if !ok {
		return nil, fmt.Errorf("the page has no index.html")
	}
	files["/"] = index
	return files, nil
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(f.data)))
	if r.Method == http.MethodGet {
		w.Write(f.data)
	}
}
