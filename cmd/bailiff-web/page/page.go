// Package page holds the files of the status page. bailiff-web serves them, and Cockpit does as they are, from
// /usr/share/cockpit/bailiff. There is no build step: what is here runs in the browser. Start reading at app.js.
package page

import "embed"

// Files are the files.
//
//go:embed *.html *.css *.js *.svg
var Files embed.FS
