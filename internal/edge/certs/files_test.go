package certs

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pile is a pair of files, its CA, and a Files on them.
type pile struct {
	*clock
	ca     pair
	log    *logBuffer
	config FilesConfig
}

func newPile(t *testing.T) *pile {
	t.Helper()
	p := &pile{clock: &clock{}, log: &logBuffer{}}
	folder := t.TempDir()
	p.config = FilesConfig{Cert: filepath.Join(folder, "tls.crt"), Key: filepath.Join(folder, "tls.key"), Log: p.log.logger(), Now: p.now, Every: time.Millisecond}
	var err error
	if p.ca, err = makeCA("elsewhere", nil, p.now()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pile) write(t *testing.T, names ...string) string {
	t.Helper()
	return Fingerprint(writeFiles(t, p.config, p.ca, p.now(), names...).cert)
}

func TestFilesAtStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*pile)
		names  []string
		err    string
		log    string
	}{
		"good":                {func(*pile) {}, []string{"reg.test", "10.0.0.1", "sub.wild.test", "*.wild.test"}, "", ""},
		"names that it lacks": {func(*pile) {}, []string{"reg.test", "reg2.test", "10.0.0.2", "*.reg.test"}, "", "[reg2.test 10.0.0.2 *.reg.test]"},
		"a key of another":    {func(p *pile) { k, _ := p.ca.keyPEM(); must(os.WriteFile(p.config.Key, k, 0o600)) }, nil, "are not a certificate and its key", ""},
		"no key":              {func(p *pile) { must(os.Remove(p.config.Key)) }, nil, "tls.key: no such file", ""},
		"neither":             {func(p *pile) { must(os.Remove(p.config.Key)); must(os.Remove(p.config.Cert)) }, nil, "tls.crt: no such file", ""},
		"no certificate":      {func(p *pile) { must(os.WriteFile(p.config.Cert, []byte("x"), 0o600)) }, nil, "are not a certificate and its key", ""},
		"ended":               {func(p *pile) { p.advance(400 * day) }, nil, "", "has ended"},
		"ends soon":           {func(p *pile) { p.advance(390 * day) }, nil, "", "days=6"},
		"does not yet begin":  {func(p *pile) { p.advance(-2 * day) }, nil, "", "not valid yet"},
		"a name that is none": {func(*pile) {}, []string{"http://x"}, "without scheme", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPile(t)
			want := p.write(t, "reg.test", "10.0.0.1", "*.wild.test")
			c.change(p)
			p.config.Names = c.names
			f, err := OpenFiles(p.config)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "PRIVATE") {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cert, err := f.Certificate(nil)
			if err != nil || Fingerprint(cert.Leaf) != want || f.CA() != nil {
				t.Errorf("%v, CA %v", err, f.CA())
			}
			if got := p.log.String(); !strings.Contains(got, c.log) || (c.log == "" && got != "") {
				t.Errorf("log %q, want %q", got, c.log)
			}
		})
	}
}

// A broken pair never takes the place of a good one.
func TestFilesChange(t *testing.T) {
	p := newPile(t)
	first := p.write(t, "reg.test")
	var looks atomic.Int64
	p.config.Now = func() time.Time { looks.Add(1); return p.now() }
	f, err := OpenFiles(p.config)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	shown := func() string { c, _ := f.Certificate(nil); return Fingerprint(c.Leaf) }
	logged := func(s string) func() bool { return func() bool { return strings.Contains(p.log.String(), s) } }

	must(os.WriteFile(p.config.Cert, []byte("half"), 0o600))
	eventually(t, "a line about the broken certificate", logged("are not a certificate and its key"))
	must(os.Remove(p.config.Cert))
	eventually(t, "a line about the missing one", logged("no such file"))
	if shown() != first {
		t.Error("the good certificate was given up")
	}
	second := p.write(t, "reg.test")
	eventually(t, "the new certificate", func() bool { return shown() == second })
	eventually(t, "a line about it", logged("read a new certificate"))

	// As Kubernetes does it: a link is changed, and both files with it.
	folder := t.TempDir()
	linked := newPile(t)
	linked.config.Cert, linked.config.Key = filepath.Join(folder, "now", "tls.crt"), filepath.Join(folder, "now", "tls.key")
	for _, version := range []string{"1", "2"} {
		must(os.Mkdir(filepath.Join(folder, version), 0o700))
	}
	must(os.Symlink("1", filepath.Join(folder, "now")))
	linked.write(t, "reg.test")
	g, err := OpenFiles(linked.config)
	if err != nil {
		t.Fatal(err)
	}
	run(t, g)
	config := linked.config
	config.Cert, config.Key = filepath.Join(folder, "2", "tls.crt"), filepath.Join(folder, "2", "tls.key")
	want := Fingerprint(writeFiles(t, config, linked.ca, time.Now(), "reg.test").cert)
	must(os.Symlink("2", filepath.Join(folder, "next")))
	must(os.Rename(filepath.Join(folder, "next"), filepath.Join(folder, "now")))
	eventually(t, "the certificate behind the other link", func() bool { c, _ := g.Certificate(nil); return Fingerprint(c.Leaf) == want })

	// A line about an end comes once a day, not at every look.
	p.advance(400 * day)
	eventually(t, "a line about the end", logged("has ended"))
	looked := looks.Load()
	eventually(t, "more looks", func() bool { return looks.Load() > looked+5 })
	if n := strings.Count(p.log.String(), "has ended"); n != 1 {
		t.Errorf("%d lines about the end", n)
	}
}
