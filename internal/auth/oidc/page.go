package oidc

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"time"
)

//go:embed pages.html
var source string

// pages are what people see: HTML without a script, a form or anything from
// elsewhere.
type pages struct {
	t      *template.Template
	policy string
}

// style is the one style sheet, whose hash the policy names.
var style = regexp.MustCompile(`(?s)<style>(.*?)</style>`)

func newPages() (*pages, error) {
	t, err := template.New("pages").Funcs(template.FuncMap{
		"date": func(t time.Time) string { return t.Format("2 January 2006, 15:04 UTC") },
	}).Parse(source)
	if err != nil {
		return nil, err
	}
	found := style.FindStringSubmatch(source)
	if found == nil {
		return nil, fmt.Errorf("the pages have no style sheet")
	}
	sum := sha256.Sum256([]byte(found[1]))
	return &pages{t, "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
}

// head is for every answer: nothing is kept, shown within another page, or told
// to where a link leads.
func (p *pages) head(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func (p *pages) choose(w http.ResponseWriter, issuers []string) {
	p.write(w, http.StatusOK, "choose", issuers)
}

func (p *pages) welcome(w http.ResponseWriter, in welcome) {
	p.write(w, http.StatusOK, "welcome", in)
}

func (p *pages) failed(w http.ResponseWriter, status int, text, issuer string) {
	p.write(w, status, "failed", struct{ Text, Issuer string }{text, issuer})
}

func (p *pages) write(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := p.t.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "This server failed to write a page.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser is gone if this fails
}
