package git

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
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
