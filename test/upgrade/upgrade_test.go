// Package upgrade promises that every release opens the data of every earlier
// one: testdata has a small filled data folder of each format that was ever
// released, and what a client saw in it then. A copy of each is served by the
// program of today, which has to show the same.
//
// A new format is added once, with the program that writes it:
//
//	SLIPWAY_WRITE_FORMAT=2 go test ./test/upgrade -run TestWrite
package upgrade

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/test/harness"
)

// expectation is what a client saw when the data was written.
type expectation struct {
	Answers []answer
	// An upload that was open: it stands at Offset, and Rest completes it to
	// the blob Digest.
	Upload struct {
		Path, Rest, Digest string
		Offset             int
	}
}

type answer struct {
	Path   string
	Status int
	SHA256 string `json:",omitempty"` // of the body, where the answer is content
	Body   string `json:",omitempty"` // of listings
}

func TestUpgrade(t *testing.T) {
	archives, err := filepath.Glob("testdata/format-*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no released format in testdata: %v", err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			data := t.TempDir()
			unpack(t, archive, data)
			want := read(t, strings.TrimSuffix(archive, ".tar.gz")+".json")
			// The data is as old as the repository: nothing may expire.
			srv := harness.Start(t, harness.Options{Data: data, Args: []string{"--uploads.expiry", "1000000h", "--gc.grace", "1000000h"}})
			for range 2 { // and again after a restart
				for _, a := range want.Answers {
					if got := ask(t, srv.URL(), a.Path); got != a {
						t.Errorf("got  %+v\nwant %+v", got, a)
					}
				}
				srv.Stop()
				srv.Restart()
			}
			finishUpload(t, srv.URL(), want)
		})
	}
}

func finishUpload(t *testing.T, url string, want expectation) {
	u := want.Upload
	resp := do(t, "GET", url+u.Path, nil, nil)
	if got, expected := resp.Header.Get("Range"), fmt.Sprintf("0-%d", u.Offset-1); resp.StatusCode != http.StatusNoContent || got != expected {
		t.Fatalf("upload: status %d, range %q, want %q", resp.StatusCode, got, expected)
	}
	if resp := do(t, "PUT", url+u.Path+"?digest="+u.Digest, []byte(u.Rest), nil); resp.StatusCode != http.StatusCreated {
		t.Fatalf("finish upload: status %d", resp.StatusCode)
	}
}

// TestWrite fills a folder with the program of today, which has to look like
// the newest format in testdata; when it is told to, it is stored as a new one.
func TestWrite(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	got := fill(t, srv.URL())
	srv.Stop()
	if format := os.Getenv("SLIPWAY_WRITE_FORMAT"); format != "" {
		base := "testdata/format-" + format
		pack(t, srv.Data(), base+".tar.gz")
		content, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(base+".json", content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("testdata/format-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no released format in testdata: %v", err)
	}
	want := read(t, files[len(files)-1])
	if len(got.Answers) != len(want.Answers) {
		t.Fatalf("%d answers, want %d", len(got.Answers), len(want.Answers))
	}
	for i, a := range got.Answers {
		if w := want.Answers[i]; a.Path != w.Path || a.Status != w.Status || a.SHA256 != w.SHA256 {
			t.Errorf("got  %+v\nwant %+v: store a new format with SLIPWAY_WRITE_FORMAT", a, w)
		}
	}
}

func read(t *testing.T, file string) (want expectation) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// fill stores one of everything that the format knows.
func fill(t *testing.T, url string) (want expectation) {
	inline := []byte("a small layer")
	file := bytes.Repeat([]byte("a layer that is kept in a file; "), 1000)
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	for _, repo := range []string{"app", "team/tool", "clean"} {
		for _, b := range [][]byte{inline, file, config} {
			put(t, url+"/v2/"+repo+"/blobs/uploads/?digest="+sum(b), "POST", b, "application/octet-stream")
		}
	}
	image := func(layer []byte, subject string) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]%s}`,
			sum(config), len(config), sum(layer), len(layer), subject)
	}
	const imageType, indexType = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	one, two := image(inline, ""), image(file, "")
	referrer := image(inline, fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d},"annotations":{"note":"kept"}`, imageType, sum(two), len(two)))
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d},{"mediaType":%q,"digest":%q,"size":%d}]}`,
		indexType, imageType, sum(one), len(one), imageType, sum(two), len(two))
	for _, p := range []struct {
		at, mediaType string
		content       []byte
	}{
		{"app/manifests/1", imageType, one}, {"app/manifests/latest", imageType, one}, {"app/manifests/2", imageType, two},
		{"app/manifests/latest", imageType, two}, {"app/manifests/" + sum(referrer), imageType, referrer}, {"app/manifests/all", indexType, index},
		{"team/tool/manifests/gone", imageType, one}, {"team/tool/manifests/v1", imageType, two}, {"clean/manifests/v1", imageType, one},
	} {
		put(t, url+"/v2/"+p.at, "PUT", p.content, p.mediaType)
	}
	if resp := do(t, "DELETE", url+"/v2/team/tool/manifests/"+sum(one), nil, nil); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("delete: status %d", resp.StatusCode)
	}
	if resp := do(t, "PATCH", url+"/api/v1/repositories/clean", []byte(`{"delete_untagged":true,"quota_bytes":1000000}`), http.Header{"Content-Type": {"application/json"}}); resp.StatusCode != http.StatusOK {
		t.Fatalf("change settings: status %d", resp.StatusCode)
	}
	resp := do(t, "POST", url+"/v2/app/blobs/uploads/", nil, nil)
	want.Upload.Path, want.Upload.Offset = resp.Header.Get("Location"), len(file)
	put(t, url+want.Upload.Path, "PATCH", file, "application/octet-stream")
	want.Upload.Rest, want.Upload.Digest = "and its end", sum(append(bytes.Clone(file), "and its end"...))

	run(t, url)

	for _, path := range []string{
		"/api/v1/projects/old/runs", "/api/v1/projects/old/runs/1", "/api/v1/projects/old/runs/1/files/log",
		"/v2/_catalog", "/v2/app/tags/list", "/v2/team/tool/tags/list", "/v2/app/referrers/" + sum(two), "/api/v1/repositories/clean",
		"/v2/app/manifests/1", "/v2/app/manifests/latest", "/v2/app/manifests/all", "/v2/app/manifests/" + sum(referrer), "/v2/team/tool/manifests/v1",
		"/v2/app/blobs/" + sum(inline), "/v2/app/blobs/" + sum(file), "/v2/team/tool/blobs/" + sum(file),
		"/v2/team/tool/manifests/gone", "/v2/team/tool/manifests/" + sum(one), "/v2/app/blobs/" + sum([]byte("unknown")),
	} {
		want.Answers = append(want.Answers, ask(t, url, path))
	}
	return want
}

// run leaves a run that failed of its project, which needs no builder.
func run(t *testing.T, url string) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("RUM true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := harness.Command{Path: harness.Binary(t), Args: []string{"build", dir, "--project", "old", "--server", url}}.Output()
	if err == nil || !strings.Contains(err.Error(), "RUM") {
		t.Fatalf("a wrong Dockerfile: %v\n%s", err, out)
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func put(t *testing.T, url, method string, content []byte, mediaType string) {
	t.Helper()
	if resp := do(t, method, url, content, http.Header{"Content-Type": {mediaType}}); resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: status %d", method, url, resp.StatusCode)
	}
}

func ask(t *testing.T, url, path string) answer {
	t.Helper()
	resp := do(t, "GET", url+path, nil, nil)
	a := answer{Path: path, Status: resp.StatusCode}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case resp.StatusCode != http.StatusOK: // the words of an error may change
	case strings.Contains(path, "/blobs/") || strings.Contains(path, "/manifests/"):
		a.SHA256 = sum(body)
	default:
		a.Body = strings.TrimSpace(string(body))
	}
	return a
}

// do returns a response whose body is in memory.
func do(t *testing.T, method, url string, body []byte, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(content))
	return resp
}

func pack(t *testing.T, dir, to string) {
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	zw := gzip.NewWriter(f)
	tw := tar.NewWriter(zw)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err = tw.Write(content)
		return err
	})
	if err := errors.Join(err, tw.Close(), zw.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, archive, dir string) {
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) {
			t.Fatalf("%s: %q leaves the folder", archive, h.Name)
		}
		path := filepath.Join(dir, h.Name)
		content, err := io.ReadAll(tr)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
