package git

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentialsStay(t *testing.T) {
	s, other, r := newServer(t), newServer(t), newRepo(t)
	const secret = "s3cret/p@ss"
	r.commit("a=1")
	s.login = "u:" + secret
	id := r.git("rev-parse", "HEAD")
	other.publish(r, "sub")
	r.commit()
	r.tree("100644|.gitmodules|[submodule \"x\"]\n\tpath = m\n\turl = "+other.URL+"/sub.git\n", "160000|m|"+id)
	s.publish(r, "x")

	o := s.options("x", "")
	o.Credentials = func(string) (string, string) { return "u", secret }
	if _, err := checkout(t, o); err != nil {
		t.Fatal(err)
	}
	for _, line := range other.seen {
		if !strings.HasSuffix(line, " ") {
			t.Errorf("the submodule's server was sent credentials: %s", line)
		}
	}
	// A password in the address works and is not shown.
	u, err := ParseURL(strings.Replace(s.URL, "http://", "http://u:s3cret%2Fp%40ss@", 1) + "/x.git")
	if err != nil {
		t.Fatal(err)
	}
	o = Options{URL: u, Dir: t.TempDir(), AllowPrivate: true}
	if _, err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"wrong password":        func(o *Options) { s.want("u:other") },
		"missing repository":    func(o *Options) { o.URL.Remote += "x" },
		"not over plain http":   func(o *Options) { o.AllowPrivate = false },
		"not while it is wrong": func(o *Options) { o.URL.Ref = "missing" },
	} {
		o := o
		s.want("u:" + secret)
		change(&o)
		_, err := Fetch(t.Context(), o)
		if err == nil {
			t.Errorf("%s: it worked", name)
			continue
		}
		for _, form := range []string{secret, "s3cret%2Fp%40ss", "dTpzM2NyZXQvcEBzcw"} {
			if strings.Contains(err.Error(), form) || strings.Contains(u.String(), form) {
				t.Errorf("%s: the error shows the password: %v", name, err)
			}
		}
	}
	// Nor is it left in the mirror.
	err = filepath.WalkDir(o.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "s3cret") || strings.Contains(string(b), "dTpzM2NyZXQ") {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestArgumentsHaveNoSecret(t *testing.T) {
	u, err := ParseURL("https://u:secret@93.184.216.34/x.git")
	if err != nil {
		t.Fatal(err)
	}
	c, done, err := Options{URL: u}.remote(t.Context(), u, call{args: []string{"ls-remote", "--", u.Remote}})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	cmd, _ := c.command(t.Context())
	if strings.Contains(strings.Join(cmd.Args, " "), "secret") {
		t.Errorf("arguments: %q", cmd.Args)
	}
	env := strings.Join(cmd.Env, "\n")
	for _, want := range []string{"http.curloptResolve", "=93.184.216.34:443:93.184.216.34", "http.https://93.184.216.34/.extraHeader", "protocol.allow", "protocol.https.allow"} {
		if !strings.Contains(env, want) {
			t.Errorf("the environment has no %s:\n%s", want, env)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s, r := newServer(t), newRepo(t)
	r.commit("a=1")
	s.publish(r, "x")
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL+r.URL.String(), http.StatusFound)
	}))
	defer away.Close()
	o := s.options("x", "")
	u, err := ParseURL(away.URL + "/x.git")
	if err != nil {
		t.Fatal(err)
	}
	o.URL = u
	if _, err := Fetch(t.Context(), o); err == nil || len(s.seen) > 0 {
		t.Errorf("got %v, %v", err, s.seen)
	}
}
