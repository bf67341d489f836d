package remote

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// fake starts a server that answers /v2/ and leaves the rest to f.
func fake(t *testing.T, f http.HandlerFunc) (host string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			f(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestListingsFollowPages(t *testing.T) {
	c := newClient(t)
	host := fake(t, func(w http.ResponseWriter, r *http.Request) {
		last := r.URL.Query().Get("last")
		if last == "" {
			w.Header().Set("Link", fmt.Sprintf(`<%s?last=b>; rel="next"`, r.URL.Path))
			fmt.Fprint(w, `{"repositories":["a","b"],"tags":["a","b"]}`)
			return
		}
		fmt.Fprint(w, `{"repositories":["c"],"tags":["c"]}`)
	})
	repos, err := c.Catalog(ctx, host)
	must(t, err)
	tags, err := c.Tags(ctx, host+"/x")
	must(t, err)
	if fmt.Sprint(repos, tags) != "[a b c] [a b c]" {
		t.Errorf("catalog %v, tags %v", repos, tags)
	}
}

func TestListingThatNeverEnds(t *testing.T) {
	c := newClient(t)
	host := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=b>; rel="next"`, r.URL.Path))
		fmt.Fprint(w, `{"tags":["a","b"]}`)
	})
	if _, err := c.Tags(ctx, host+"/x"); err == nil || !strings.Contains(err.Error(), "again and again") {
		t.Errorf("error = %v", err)
	}
}

func TestManifestIsLimited(t *testing.T) {
	c := newClient(t)
	var sent atomic.Int64
	host := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		block := bytes.Repeat([]byte(" "), 1<<20)
		for range 64 {
			if _, err := w.Write(block); err != nil {
				return
			}
			sent.Add(1)
		}
	})
	defer func() {
		if n := sent.Load(); n > 32 {
			t.Errorf("%d MiB were taken in before the limit was noticed", n)
		}
	}()
	if _, err := c.Inspect(ctx, host+"/x:1", ""); err == nil || !strings.Contains(err.Error(), "larger than 8 MiB") {
		t.Errorf("error = %v", err)
	}
}

// A registry that changes what it was given.
func TestCopyVerifies(t *testing.T) {
	good := startMemory()(t)
	c := newClient(t)
	pushIndex(t, c, good+"/a:1")
	for _, part := range []string{"/blobs/", "/manifests/sha256:"} {
		liar := fake(t, func(w http.ResponseWriter, r *http.Request) {
			resp, err := http.Get("http://" + good + r.URL.Path)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var b bytes.Buffer
			_, _ = b.ReadFrom(resp.Body)
			if strings.Contains(r.URL.Path, part) {
				b.Bytes()[b.Len()/2] ^= 1
			}
			w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
			w.WriteHeader(resp.StatusCode)
			_, _ = w.Write(b.Bytes())
		})
		to := startMemory()(t)
		if _, err := c.Copy(ctx, liar+"/a:1", to+"/a:1", CopyOptions{}); err == nil {
			t.Errorf("a copy with changed %s succeeded", part)
		}
		if _, err := c.Inspect(ctx, to+"/a:1", ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("a tag was written: %v", err)
		}
		file := filepath.Join(t.TempDir(), "a.tar")
		if _, err := c.Pull(ctx, liar+"/a:1", file, PullOptions{Platform: "linux/amd64"}); err == nil {
			t.Errorf("a pull with changed %s succeeded", part)
		}
		if _, err := os.Stat(file); err == nil {
			t.Error("an incomplete file was left")
		}
	}
}

func TestParseManifest(t *testing.T) {
	const (
		image = "application/vnd.oci.image.manifest.v1+json"
		index = "application/vnd.oci.image.index.v1+json"
		cfg   = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}`
	)
	for name, row := range map[string]struct{ body, label, want, problem string }{
		"by label":         {body: `{` + cfg + `,"layers":[]}`, label: image + "; charset=utf-8", want: image},
		"by content":       {body: `{"mediaType":"` + index + `","manifests":[]}`, label: "application/json", want: index},
		"by shape":         {body: `{"manifests":[]}`, want: index},
		"image by shape":   {body: `{` + cfg + `}`, want: image},
		"both":             {body: `{` + cfg + `,"manifests":[]}`, label: image, problem: "at once"},
		"contradiction":    {body: `{"mediaType":"` + index + `","manifests":[]}`, label: image, problem: "is labelled"},
		"wrong shape":      {body: `{"manifests":[]}`, label: image, problem: "neither"},
		"schema 1":         {body: `{"schemaVersion":1,"fsLayers":[]}`, problem: "too old"},
		"not JSON":         {body: `<html>`, problem: "not valid"},
		"something else":   {body: `{}`, label: "text/html", problem: "neither"},
		"negative size":    {body: `{"config":{"size":-1,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}`, label: image, problem: "without a digest or a size"},
		"no digest":        {body: `{"manifests":[{"size":1}]}`, label: index, problem: "without a digest"},
		"digest is a path": {body: `{"manifests":[{"size":1,"digest":"sha256:../../x"}]}`, label: index, problem: "not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := parseManifest([]byte(row.body), row.label, v1.Hash{Algorithm: "sha256", Hex: "00"})
			switch {
			case row.problem != "":
				if err == nil || !strings.Contains(err.Error(), row.problem) {
					t.Errorf("error = %v, want %q", err, row.problem)
				}
			case err != nil:
				t.Error(err)
			case string(m.desc.MediaType) != row.want:
				t.Errorf("media type = %s, want %s", m.desc.MediaType, row.want)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for name, row := range map[string]struct {
		status int
		body   string
		want   []string
	}{
		"login":     {401, `{"errors":[{"code":"UNAUTHORIZED"}]}`, []string{"asks for a login", "run 'docker login HOST'"}},
		"denied":    {403, `{"errors":[{"code":"DENIED","message":"no \u001b[31mpush"}]}`, []string{"refuses this: no [31mpush (403)"}},
		"quota":     {413, `{"errors":[{"code":"DENIED","message":"too much: ask for more"}]}`, []string{"refuses this: too much: ask for more (413)"}},
		"proxy":     {413, `<html>`, []string{"raise its limit for request bodies"}},
		"missing":   {404, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, []string{"no such tag", "'slipway tags HOST/a/b'"}},
		"no repo":   {404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`, []string{"no such repository", "'slipway catalog HOST'"}},
		"html":      {404, `<html>`, []string{"no such tag"}},
		"odd":       {418, `{"errors":[{"code":"TEAPOT","message":"short\nand stout"}]}`, []string{"TEAPOT: short and stout (418)"}},
		"not found": {410, ``, []string{"410 Gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			host := fake(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(row.status)
				fmt.Fprint(w, row.body)
			})
			_, err := c.Inspect(ctx, host+"/a/b:1", "")
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(row.want, "inspect HOST/a/b:1: ") {
				if want = strings.ReplaceAll(want, "HOST", host); !strings.Contains(err.Error(), want) {
					t.Errorf("error = %q, want %q", err, want)
				}
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error %q holds control characters", err)
			}
			if row.status == http.StatusRequestEntityTooLarge && strings.Contains(err.Error(), "docker login") {
				t.Errorf("error %q asks for another login", err)
			}
		})
	}
}

func TestConnectionErrors(t *testing.T) {
	c := newClient(t)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	host := strings.TrimPrefix(secure.URL, "https://")
	if _, err := c.Tags(ctx, host+"/a"); err == nil || !strings.Contains(err.Error(), "x509") || !strings.Contains(err.Error(), "--insecure") {
		t.Errorf("unknown authority: %v", err)
	}
	skip, err := New(Options{SkipVerify: true})
	must(t, err)
	if _, err := skip.Tags(ctx, host+"/a"); err == nil || strings.Contains(err.Error(), "x509") {
		t.Errorf("with --insecure: %v", err)
	}
	var asked []string
	trusting, err := New(Options{Roots: func(h string) *x509.CertPool {
		asked = append(asked, h)
		pool := x509.NewCertPool()
		pool.AddCert(secure.Certificate())
		return pool
	}})
	must(t, err)
	for range 2 {
		if _, err := trusting.Tags(ctx, host+"/a"); err == nil || strings.Contains(err.Error(), "x509") {
			t.Errorf("with an authority of the host's own: %v", err)
		}
	}
	if len(asked) != 1 || asked[0] != host {
		t.Errorf("authorities were asked for of %q, want once of %s", asked, host)
	}
	closed := httptest.NewServer(nil)
	gone := strings.TrimPrefix(closed.URL, "http://")
	closed.Close()
	if _, err := c.Tags(ctx, gone+"/a"); err == nil || !strings.Contains(err.Error(), "connection refused: nothing listens at "+gone) {
		t.Errorf("closed port: %v", err)
	}
}

// Private addresses get HTTPS only, unless plain HTTP was asked for.
func TestPlainHTTPIsNotTriedByItself(t *testing.T) {
	for _, row := range []struct {
		url   string
		plain bool
		want  bool
	}{
		{"http://192.168.1.5:5000/v2/", false, true},
		{"http://10.0.0.1/v2/", false, true},
		{"http://192.168.1.5:5000/v2/", true, false},
		{"http://127.0.0.9:5000/v2/", false, false},
		{"http://[::1]:5000/v2/", false, false},
		{"http://192.168.1.5:9000/bucket/blob", false, false}, // where a registry redirects to
	} {
		g := &guardedTransport{plainHTTP: row.plain, inner: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})}
		req, err := http.NewRequest(http.MethodGet, row.url, nil)
		must(t, err)
		_, err = g.RoundTrip(req)
		if refused := errors.Is(err, errPlainHTTP); refused != row.want {
			t.Errorf("%s (plain %v): refused = %v", row.url, row.plain, refused)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCredentials(t *testing.T) {
	const password = "hunter2secret"
	var seen bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "me" || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/v2/a/tags/list" {
			seen = true
			fmt.Fprint(w, `{"tags":[]}`)
			return
		}
		if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	c := newClient(t)
	if _, err := c.Tags(ctx, host+"/a"); err == nil || !strings.Contains(err.Error(), "docker login "+host) {
		t.Errorf("without a login: %v", err)
	}
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:"+password)))
	must(t, os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600))
	c, err := New(Options{}) // a client asks for credentials once
	must(t, err)
	_, err = c.Tags(ctx, host+"/a")
	must(t, err)
	if !seen {
		t.Error("the stored login was not used")
	}
	if _, err := c.Inspect(ctx, host+"/a:1", ""); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("forbidden: %v", err)
	}
}

func TestDeleteRepositoryOnSlipway(t *testing.T) {
	c := newClient(t)
	var calls []string
	host := fake(t, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.URL.EscapedPath())
		if strings.HasSuffix(r.URL.EscapedPath(), "a%2Fb") {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
		if strings.HasSuffix(r.URL.Path, "/none") {
			w.WriteHeader(http.StatusNotFound)
		} else {
			w.WriteHeader(http.StatusConflict)
		}
		fmt.Fprint(w, `{"title":"protected","detail":"a rule protects it"}`)
	})
	got, err := c.DeleteRepository(ctx, host+"/a/b")
	must(t, err)
	if !got.Whole || got.Manifests == nil {
		t.Errorf("deleted %+v", got)
	}
	if _, err := c.DeleteRepository(ctx, host+"/none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a missing repository: %v", err)
	}
	if _, err := c.DeleteRepository(ctx, host+"/kept"); err == nil || !strings.Contains(err.Error(), "a rule protects it (409)") {
		t.Errorf("a protected repository: %v", err)
	}
	if want := "[DELETE /api/v1/repositories/a%2Fb DELETE /api/v1/repositories/none DELETE /api/v1/repositories/kept]"; fmt.Sprint(calls) != want {
		t.Errorf("calls = %v, want %s", calls, want)
	}
}

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 漢":         "plain ü 漢",
		"\x1b]0;title\x07x": "]0;titlex",
		"a\r\nb\tc":         "a  b c",
		"\u009b31mred":      "31mred",
		"a\u202eb\u2066c":   "abc",
		"bad\xff":           "bad\uFFFD",
	} {
		if got := CleanText(in); got != want {
			t.Errorf("CleanText(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPlatformServes(t *testing.T) {
	for _, row := range []struct {
		has, want string
		ok        bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm/v6", "linux/arm/v7", false},
		{"linux/arm/v7", "linux/arm", true},
		{"linux/amd64", "windows/amd64", false},
	} {
		has, err := parsePlatform(row.has)
		must(t, err)
		want, err := parsePlatform(row.want)
		must(t, err)
		if got := serves(has, want); got != row.ok {
			t.Errorf("%s serves %s = %v", row.has, row.want, got)
		}
	}
}

func TestReferences(t *testing.T) {
	c := newClient(t)
	for text, want := range map[string]string{
		"alpine":                "docker.io/library/alpine:latest",
		"reg.example/a/b":       "reg.example/a/b:latest",
		"localhost:5000/a:1":    "localhost:5000/a:1",
		"127.0.0.1:5000":        "",
		"https://reg.example/a": "",
		"Bad":                   "",
	} {
		r, err := c.parseReference(text)
		switch {
		case want == "":
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v, want ErrInvalid", text, err)
			}
		case err != nil:
			t.Error(err)
		case refText(r) != want:
			t.Errorf("%q is %s, want %s", text, refText(r), want)
		}
	}
	for host, want := range map[string]string{"127.0.0.9:5000": "http", "localhost": "http", "[::1]:5000": "http", "reg.example": "https"} {
		r, err := c.parseRegistry(host)
		must(t, err)
		if r.Scheme() != want {
			t.Errorf("%s: scheme %s, want %s", host, r.Scheme(), want)
		}
	}
}

// The list of referrers has pages, which stay on the registry's host.
func TestReferrersFollowPages(t *testing.T) {
	c := newClient(t)
	subject := digestOf([]byte("subject"))
	elsewhere := ""
	host := fake(t, func(w http.ResponseWriter, r *http.Request) {
		entry := digestOf([]byte(r.URL.RawQuery))
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json; charset=utf-8")
		if r.URL.RawQuery == "" {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=2>; rel="next"`, elsewhere, r.URL.Path))
		}
		fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":%q}]}`, entry)
	})
	repo, err := c.parseRepository(host + "/a")
	must(t, err)
	found, err := c.referrers(ctx, repo, subject)
	must(t, err)
	if len(found) != 2 || found[1].Digest != digestOf([]byte("page=2")) {
		t.Errorf("referrers = %v, want those of two pages", found)
	}
	elsewhere = "http://other.example"
	if _, err := c.referrers(ctx, repo, subject); err == nil || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("a next page on another host: %v", err)
	}
}

func TestChildManifestHasThePromisedSize(t *testing.T) {
	c := newClient(t)
	host := startMemory()(t)
	d := pushImage(t, c, host+"/a:1", image(t, "linux/amd64"))
	repo, err := c.parseRepository(host + "/a")
	must(t, err)
	_, err = c.child(ctx, repo, v1.Descriptor{Digest: d, Size: 1})
	if err == nil || !strings.Contains(err.Error(), "not the 1 that were promised") {
		t.Errorf("error = %v", err)
	}
}
