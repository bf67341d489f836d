package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a git server: the repositories below a folder over git's own
// HTTP backend, and LFS objects.
type server struct {
	*httptest.Server
	t       *testing.T
	root    string
	login   string // "user:password" that it wants
	mu      sync.Mutex
	objects map[string][]byte // LFS
	mangle  func([]byte) []byte
	seen    []string // "METHOD path authorization"
	hang    chan struct{}
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, root: t.TempDir(), objects: map[string][]byte{}}
	backend := filepath.Join(strings.TrimSpace(run(t, "git", "--exec-path")), "git-http-backend")
	h := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}, InheritEnv: []string{"GIT_PROTOCOL"}, Stderr: io.Discard}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		hang, login := s.hang, s.login
		s.mu.Unlock()
		if hang != nil {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		user, password, _ := r.BasicAuth()
		if login != "" && user+":"+password != login {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "who are you? "+password, http.StatusUnauthorized)
			return
		}
		if strings.Contains(r.URL.Path, "/info/lfs/") {
			s.lfs(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// want sets what the server wants from now on.
func (s *server) want(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login = login
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (s *server) lfs(w http.ResponseWriter, r *http.Request) {
	if oid := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; r.Method == http.MethodGet {
		b := s.objects[oid]
		if s.mangle != nil {
			b = s.mangle(b)
		}
		_, _ = w.Write(b)
		return
	}
	var in struct {
		Objects []struct {
			OID  string
			Size int64
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := map[string][]any{}
	for _, o := range in.Objects {
		answer := map[string]any{"oid": o.OID, "size": o.Size}
		if _, ok := s.objects[o.OID]; ok {
			answer["actions"] = map[string]any{"download": map[string]any{"href": s.URL + "/store/info/lfs/" + o.OID}}
		} else {
			answer["error"] = map[string]any{"code": 404, "message": "no such object"}
		}
		out["objects"] = append(out["objects"], answer)
	}
	_ = json.NewEncoder(w).Encode(out)
}

// pointer stores an object and returns the pointer to it.
func (s *server) pointer(content string) string {
	sum := sha256.Sum256([]byte(content))
	oid := hex.EncodeToString(sum[:])
	s.objects[oid] = []byte(content)
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(content))
}

// publish puts a repository on the server as name.git.
func (s *server) publish(r *repo, name string) {
	s.t.Helper()
	dir := filepath.Join(s.root, name+".git")
	if err := os.RemoveAll(dir); err != nil {
		s.t.Fatal(err)
	}
	r.git("clone", "-q", "--bare", r.dir, dir)
	r.git("--git-dir="+dir, "config", "uploadpack.allowAnySHA1InWant", "true")
}

func (s *server) options(name, rest string) Options {
	s.t.Helper()
	u, err := ParseURL(s.URL + "/" + name + ".git" + rest)
	if err != nil {
		s.t.Fatal(err)
	}
	return Options{URL: u, Dir: filepath.Join(s.t.TempDir(), "mirrors"), AllowPrivate: true}
}

// list describes a folder: "path mode content".
func list(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.Type() == fs.ModeSymlink {
			to, err := os.Readlink(path)
			out = append(out, rel+" -> "+to)
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		out = append(out, fmt.Sprintf("%s %o %s", rel, info.Mode(), b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func checkout(t *testing.T, o Options) ([]string, error) {
	t.Helper()
	c, err := Fetch(t.Context(), o)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := c.Checkout(t.Context(), dir); err != nil {
		return nil, err
	}
	return list(t, dir), nil
}

func TestFetchReferences(t *testing.T) {
	s, r := newServer(t), newRepo(t)
	one := r.commit("a=1")
	r.git("tag", "-am", "x", "v1")
	two := r.commit("a=2")
	r.git("branch", "v1-branch", one)
	r.git("branch", "side/line", one)
	r.git("tag", "both", one)
	r.git("branch", "both", two)
	s.publish(r, "x")
	o := s.options("x", "")
	for _, c := range []struct{ ref, sha, branch, tag string }{
		{"", two, "main", ""},
		{"HEAD", two, "main", ""},
		{"main", two, "main", ""},
		{"refs/heads/main", two, "main", ""},
		{"side/line", one, "side/line", ""},
		{"v1", one, "", "v1"},
		{"refs/tags/v1", one, "", "v1"},
		{"both", two, "both", ""},
		{one, one, "", ""},
	} {
		for range 2 { // the second time from the mirror
			o.URL.Ref = c.ref
			got, err := Fetch(t.Context(), o)
			if err != nil {
				t.Fatalf("%q: %v", c.ref, err)
			}
			if got.SHA != c.sha || got.Branch != c.branch || got.Tag != c.tag || got.Time.Unix() < 1_000_000_010 {
				t.Errorf("%q: got %+v, want %+v", c.ref, got, c)
			}
		}
	}
	for _, ref := range []string{"missing", "refs/heads/missing", one[:8], strings.Repeat("0", 40)} {
		o.URL.Ref = ref
		if _, err := Fetch(t.Context(), o); err == nil || len(ref) < 40 && !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", ref, err)
		}
	}
	// A branch that moved is fetched again; what changed is answered from history.
	three := r.commit("b=3")
	s.publish(r, "x")
	o.URL.Ref = "main"
	got, err := Fetch(t.Context(), o)
	if err != nil || got.SHA != three {
		t.Fatal(got, err)
	}
	if at, err := got.LastTouching(t.Context(), []string{"a"}); err != nil || at.Unix() != 1_000_000_020 {
		t.Errorf("a was touched at %v, %v", at, err)
	}
	o.Depth, o.Dir = 1, t.TempDir()
	if got, err = Fetch(t.Context(), o); err != nil || got.SHA != three {
		t.Errorf("shallow: %v %v", got, err)
	}
}

func TestCheckout(t *testing.T) {
	s, r := newServer(t), newRepo(t)
	r.commit("a=1", "bin/run=#!", "empty=", ".gitattributes=* text eol=crlf filter=evil ident", "id=$Id$\n", "ü b=x")
	r.git("update-index", "--chmod=+x", "bin/run")
	if err := os.Symlink("../a", filepath.Join(r.dir, "bin/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(r.dir, "bin/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.commit()
	s.publish(r, "x")
	got, err := checkout(t, s.options("x", "#:bin"))
	want := []string{".gitattributes 644 * text eol=crlf filter=evil ident", "a 644 1", "bin/link -> ../a", "bin/run 755 #!", "empty 644 ", "id 644 $Id$\n", "ü b 644 x"}
	slices.Sort(want)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	o := s.options("x", "")
	o.MaxEntries = 3
	if _, err := checkout(t, o); !errors.Is(err, ErrHostile) {
		t.Errorf("entries: %v", err)
	}
	o = s.options("x", "")
	o.MaxBytes = 20
	if _, err := checkout(t, o); !errors.Is(err, ErrHostile) {
		t.Errorf("bytes: %v", err)
	}
}

// tree makes a commit of a tree that git itself would not make: "mode path
// content" for each entry, a path with slashes making folders.
func (r *repo) tree(entries ...string) {
	r.t.Helper()
	r.treeAt("HEAD", entries...)
}

func (r *repo) treeAt(ref string, entries ...string) {
	r.t.Helper()
	r.git("update-ref", ref, r.git("commit-tree", "-m", "hostile", r.mktree("", entries)))
}

func (r *repo) mktree(prefix string, entries []string) string {
	r.t.Helper()
	var lines strings.Builder
	seen := map[string]bool{}
	for _, e := range entries {
		parts := strings.SplitN(e, "|", 3)
		rest, ok := strings.CutPrefix(parts[1], prefix)
		if !ok {
			continue
		}
		name, _, folder := strings.Cut(rest, "/")
		switch {
		case folder && !seen[name]:
			seen[name] = true
			fmt.Fprintf(&lines, "040000 tree %s\t%s\x00", r.mktree(prefix+name+"/", entries), name)
		case !folder && parts[0] == "160000":
			fmt.Fprintf(&lines, "160000 commit %s\t%s\x00", parts[2], name)
		case !folder:
			fmt.Fprintf(&lines, "%s blob %s\t%s\x00", parts[0], r.input(parts[2], "hash-object", "-w", "--stdin"), name)
		}
	}
	return r.input(lines.String(), "mktree", "-z", "--missing")
}

func TestCheckoutRefusesHostileTrees(t *testing.T) {
	hostile := map[string][]string{
		"dot git":              {"100644|.git|x"},
		"dot git folder":       {"100644|.git/config|x"},
		"deeper":               {"100644|a/b/.git/config|x"},
		"upper case":           {"100644|.GIT/config|x"},
		"short name":           {"100644|git~1/config|x"},
		"trailing dot":         {"100644|.git./config|x"},
		"trailing space":       {"100644|.git /config|x"},
		"stream":               {"100644|.git::$INDEX_ALLOCATION/config|x"},
		"ignorable":            {"100644|.g\u200cit/config|x"},
		"backslash":            {`100644|a\.git\config|x`},
		"dot dot":              {"100644|../x|x"},
		"dot":                  {"100644|./x|x"},
		"absolute link":        {"120000|a|/etc/passwd"},
		"link up":              {"120000|a|.."},
		"link up later":        {"120000|d/a|x/../../../b"},
		"through another link": {"120000|a/b/s|../..", "120000|x|a/b/s/../y"},
		"empty link":           {"120000|a|"},
		"file through a link":  {"120000|a|b", "100644|a/x|x"},
		"long link":            {"120000|a|" + strings.Repeat("x", 5000)},
	}
	harmless := map[string][]string{
		"inside":         {"120000|a/l|../b", "100644|b|x"},
		"circle":         {"120000|a|b", "120000|b|a"},
		"dangling":       {"120000|a|nowhere/x"},
		"named as git":   {"100644|.gitignore|x", "100644|git|x", "100644|x.git/y|x"},
		"up and in":      {"120000|a/b/l|../../c", "100644|c|x"},
		"link to folder": {"120000|l|a", "100644|a/x|x", "120000|m|l/x"},
	}
	s, r := newServer(t), newRepo(t)
	r.commit()
	for name, tree := range hostile {
		r.treeAt("refs/heads/"+strings.ReplaceAll(name, " ", "-"), tree...)
	}
	for name, tree := range harmless {
		r.treeAt("refs/heads/"+strings.ReplaceAll(name, " ", "-"), tree...)
	}
	s.publish(r, "x")
	o := s.options("x", "")
	for name := range hostile {
		t.Run(name, func(t *testing.T) {
			o.URL.Ref = strings.ReplaceAll(name, " ", "-")
			c, err := Fetch(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			outside := t.TempDir()
			err = c.Checkout(t.Context(), filepath.Join(outside, "out"))
			if err == nil || !errors.Is(err, ErrHostile) && name != "file through a link" {
				t.Errorf("got %v", err)
			}
			names, _ := os.ReadDir(outside)
			if len(names) > 1 {
				t.Errorf("written outside: %v", names)
			}
		})
	}
	for name, tree := range harmless {
		t.Run(name, func(t *testing.T) {
			o.URL.Ref = strings.ReplaceAll(name, " ", "-")
			if got, err := checkout(t, o); err != nil || len(got) != len(tree) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestSubmodules(t *testing.T) {
	s := newServer(t)
	inner, middle, outer := newRepo(t), newRepo(t), newRepo(t)
	id := inner.commit("deep=1")
	s.publish(inner, "inner")
	gitmodules := func(path, url string) string {
		return "100644|.gitmodules|[submodule \"x\"]\n\tpath = " + path + "\n\turl = " + url + "\n"
	}
	middle.commit()
	middle.tree(gitmodules("in", "../inner.git"), "160000|in|"+id, "100644|m|2")
	s.publish(middle, "middle")
	outer.commit()
	mid := middle.git("rev-parse", "HEAD")
	outer.tree(gitmodules("lib/mid", s.URL+"/middle.git"), "160000|lib/mid|"+mid)
	s.publish(outer, "outer")
	o := s.options("outer", "")
	got, err := checkout(t, o)
	if err != nil || !strings.Contains(strings.Join(got, "\n"), "lib/mid/in/deep 644 1") || !strings.Contains(strings.Join(got, "\n"), "lib/mid/m 644 2") {
		t.Errorf("got %q, %v", got, err)
	}
	o.MaxNesting = 1
	if _, err := checkout(t, o); !errors.Is(err, ErrSubmodule) || !strings.Contains(err.Error(), "lib/mid/in") {
		t.Errorf("nesting: %v", err)
	}
	for name, c := range map[string]struct {
		tree []string
		says string
	}{
		"unreachable":   {[]string{gitmodules("m", s.URL+"/missing.git"), "160000|m|" + id}, "m: fetch " + s.URL + "/missing.git"},
		"no address":    {[]string{"160000|m|" + id}, "m: .gitmodules has no address"},
		"local":         {[]string{gitmodules("m", s.root+"/inner.git"), "160000|m|" + id}, "m: "},
		"ext":           {[]string{gitmodules("m", "ext::sh -c id"), "160000|m|" + id}, "m: "},
		"file":          {[]string{gitmodules("m", "file://"+s.root+"/inner.git"), "160000|m|" + id}, "m: "},
		"option":        {[]string{gitmodules("m", "--upload-pack=id"), "160000|m|" + id}, "m: "},
		"above":         {[]string{gitmodules("m", "../../../../../x"), "160000|m|" + id}, "m: "},
		"name dotdot":   {[]string{gitmodules("../m", s.URL+"/inner.git"), "160000|m|" + id}, "m: .gitmodules has no address"},
		"other commit":  {[]string{gitmodules("m", s.URL+"/inner.git"), "160000|m|" + strings.Repeat("1", 40)}, "m: fetch"},
		"too many":      {[]string{gitmodules("m", s.URL+"/inner.git"), "160000|m|" + id, "160000|n|" + id}, "n: "},
		"link into it":  {[]string{gitmodules("m", s.URL+"/inner.git"), "160000|m|" + id, "120000|l|m/../../x"}, "l: it links to"},
		"itself in git": {[]string{gitmodules(".git", s.URL+"/inner.git"), "160000|.git|" + id}, ".git: it would be taken"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			r.commit()
			r.tree(c.tree...)
			s.publish(r, "bad")
			if _, err := checkout(t, s.options("bad", "")); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestLFS(t *testing.T) {
	s, r := newServer(t), newRepo(t)
	s.login = "u:secret-word"
	r.commit(".gitattributes=*.bin filter=lfs diff=lfs merge=lfs -text", "a.bin="+s.pointer("large content"), "b.bin="+s.pointer("more"),
		"same.bin="+s.pointer("more"), "about.txt=version https://git-lfs.github.com/spec/v1\nis what pointers begin with\n", "plain.bin=raw")
	s.publish(r, "x")
	o := s.options("x", "")
	o.Credentials = func(string) (string, string) { return "u", "secret-word" }
	want := []string{"a.bin 644 large content", "b.bin 644 more", "plain.bin 644 raw", "same.bin 644 more"}
	check := func(when string) {
		got, err := checkout(t, o)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no %q in %q", when, w, got)
			}
		}
	}
	check("first")
	s.mangle = func([]byte) []byte { return nil }
	check("kept") // not asked for again

	for name, mangle := range map[string]func([]byte) []byte{
		"other bytes": func(b []byte) []byte { return []byte(strings.ToUpper(string(b))) },
		"too short":   func(b []byte) []byte { return b[:2] },
		"too long":    func(b []byte) []byte { return append(slices.Clone(b), 'x') },
	} {
		s.mangle, o.Dir = mangle, t.TempDir()
		if _, err := checkout(t, o); !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), ".bin: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.mangle, o.Dir = nil, t.TempDir()
	clear(s.objects)
	if _, err := checkout(t, o); !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), "404: no such object") {
		t.Errorf("missing: %v", err)
	}
}

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

func TestCancelKillsTheGroup(t *testing.T) {
	s := newServer(t)
	s.hang = make(chan struct{})
	o := s.options("x", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped by a test")
	asked := func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.seen) > 0 }
	done := make(chan error, 1)
	go func() { _, err := Fetch(ctx, o); done <- err }()
	for !asked() {
		time.Sleep(time.Millisecond) // until git's helper waits for an answer
	}
	cancel(stop)
	select {
	case err := <-done:
		if !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	case <-time.After(grace + 10*time.Second):
		t.Fatal("it goes on")
	}
	// The helper has the address among its arguments.
	deadline := time.Now().Add(10 * time.Second)
	for {
		out, _ := exec.Command("ps", "-eo", "args").Output()
		if !strings.Contains(string(out), o.URL.Remote) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes are left:\n%s", out)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
