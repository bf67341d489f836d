//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"slipway/internal/audit"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// send is do with a body.
func (g *guarded) send(method, path, caller, contentType string, body []byte) (status int, answer []byte) {
	g.t.Helper()
	r, err := http.NewRequest(method, g.url+path, bytes.NewReader(body))
	g.must(err)
	if h := g.header[caller]; h != "" {
		r.Header.Set("Authorization", h)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	g.must(err)
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	g.must(err)
	return resp.StatusCode, answer
}

// secretImage puts an image into team/secret, of which "elsewhere" must get nothing.
func (g *guarded) secretImage() (layer []byte, manifest oci.Digest) {
	g.t.Helper()
	layer, config := []byte("what only the team may read"), []byte("{}")
	for _, b := range [][]byte{layer, config} {
		g.must(g.store.registry.PutBlob(g.t.Context(), "team/secret", oci.FromBytes(oci.SHA256, b), registry.Body{Reader: bytes.NewReader(b), Length: int64(len(b))}))
	}
	content := registrytest.Image(config, layer)
	p, err := g.store.registry.PutManifest(g.t.Context(), registry.Push{
		Repository: "team/secret", Reference: oci.Reference{Tag: "1"}, MediaType: oci.MediaTypeImageManifest, Content: content, Change: registrytest.Change,
	})
	g.must(err)
	return layer, p.Digest
}

// TestAStrangerInOtherRepositories knows every digest, and has push to other/**.
func TestAStrangerInOtherRepositories(t *testing.T) {
	g := newGuarded(t)
	layer, manifest := g.secretImage()
	d := oci.FromBytes(oci.SHA256, layer)

	for _, path := range []string{
		"/v2/team/secret/blobs/" + d.String(), "/v2/team/secret/manifests/" + manifest.String(), "/v2/team/secret/manifests/1", "/v2/team/secret/tags/list",
		"/v2/team/secret/referrers/" + manifest.String(), "/v2/team/nothing/manifests/1",
	} {
		if status, body, _ := g.do(http.MethodGet, path, "elsewhere"); status != http.StatusForbidden || bytes.Contains(body, layer) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	// By a repository of its own, by name and by digest.
	for _, path := range []string{"/v2/other/app/blobs/" + d.String(), "/v2/other/app/manifests/" + manifest.String(), "/v2/other/app/referrers/" + manifest.String()} {
		if status, body, _ := g.do(http.MethodGet, path, "elsewhere"); status == http.StatusForbidden || bytes.Contains(body, []byte(manifest)) || bytes.Contains(body, layer) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	// Mounting takes a blob along only from where it may be read; who may not is
	// not told whether it is there.
	for _, query := range []string{"?mount=" + d.String() + "&from=team/secret", "?mount=" + d.String(), "?mount=" + d.String() + "&from=team/nothing"} {
		if status, body := g.send(http.MethodPost, "/v2/other/app/blobs/uploads/"+query, "elsewhere", "", nil); status != http.StatusAccepted {
			t.Errorf("mount %s: %d %s", query, status, body)
		}
	}
	if status, _ := g.send(http.MethodPost, "/v2/team/copy/blobs/uploads/?mount="+d.String()+"&from=team/secret", "writer", "", nil); status != http.StatusCreated {
		t.Errorf("the team itself cannot mount: %d", status)
	}
	// A manifest that points at what only others hold.
	content := registrytest.Image([]byte("{}"), layer)
	if status, body := g.send(http.MethodPut, "/v2/other/app/manifests/1", "elsewhere", oci.MediaTypeImageManifest, content); status != http.StatusNotFound {
		t.Errorf("a manifest of others' blobs: %d %s", status, body)
	}
	if status, body, _ := g.do(http.MethodGet, "/v2/_catalog", "elsewhere"); status != http.StatusOK || strings.Contains(string(body), "team") {
		t.Errorf("catalog: %d %s", status, body)
	}
	if status, body, _ := g.do(http.MethodGet, "/v2/_catalog", "reader"); status != http.StatusOK || !strings.Contains(string(body), "team/secret") {
		t.Errorf("the reader's catalog: %d %s", status, body)
	}
}

// TestPathsThatMeanOthers are names that something on the way may read otherwise
// than the one that decides.
func TestPathsThatMeanOthers(t *testing.T) {
	g := newGuarded(t)
	layer, _ := g.secretImage()
	d := oci.FromBytes(oci.SHA256, layer).String()
	for _, path := range []string{
		"/v2/other/../team/secret/blobs/" + d, "/v2/other/%2e%2e/team/secret/blobs/" + d, "/v2/other/app/../../team/secret/manifests/1",
		"/v2//team/secret/blobs/" + d, "/v2/team%2fsecret/blobs/" + d, "/v2/./team/secret/blobs/" + d, "/v2/other/app/blobs/../../../team/secret/blobs/" + d,
		"/v2/TEAM/secret/manifests/1", "/v2/_builds/team/manifests/1", "/v2/other/app%00/../team/secret/manifests/1",
		"/v2/team/secret/blobs/uploads/../" + d,
	} {
		status, body, _ := g.do(http.MethodGet, path, "elsewhere")
		if status < 400 || status >= 500 || bytes.Contains(body, layer) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// TestTagsThatDoNotMove holds for every way of moving a tag.
func TestTagsThatDoNotMove(t *testing.T) {
	g := newGuarded(t)
	_, manifest := g.secretImage()
	content, err := g.store.registry.GetManifest(t.Context(), "team/secret", oci.Reference{Digest: manifest})
	g.must(err)
	for _, r := range [][]string{{"immutable", "team/**", "v*"}, {"protected", "team/**", "latest", "user:keeper"}} {
		rule, err := policy.ParseTagRule(r[0], r[1], r[2], r[3:]...)
		g.must(err)
		g.update(func(tx *db.Tx) error { _, err := policy.AddTagRule(tx, rule); return err })
	}
	put := func(caller, tag string, content []byte) (int, string) {
		status, body := g.send(http.MethodPut, "/v2/team/secret/manifests/"+tag, caller, oci.MediaTypeImageManifest, content)
		return status, string(body)
	}
	other := bytes.Replace(content.Content, []byte(`"schemaVersion"`), []byte(` "schemaVersion"`), 1)
	for _, step := range []struct {
		what, caller, tag string
		content           []byte
		want              int
		says              string
	}{
		{"a new immutable tag", "writer", "v1", content.Content, 201, ""},
		{"the same again", "writer", "v1", content.Content, 201, ""},
		{"moved", "writer", "v1", other, 403, "immutable"},
		{"moved by an administrator", "administrator", "v1", other, 403, "immutable"},
		{"a protected tag by anybody", "writer", "latest", content.Content, 403, "protected"},
		{"by who may", "keeper", "latest", content.Content, 201, ""},
		{"by an administrator", "administrator", "latest", other, 201, ""},
	} {
		if status, body := put(step.caller, step.tag, step.content); status != step.want || !strings.Contains(body, step.says) {
			t.Errorf("%s: %d %s; want %d and %q", step.what, status, body, step.want, step.says)
		}
	}
	for _, path := range []string{"/v2/team/secret/manifests/v1", "/v2/team/secret/manifests/" + manifest.String()} {
		if status, body := g.send(http.MethodDelete, path, "keeper", "", nil); status != http.StatusForbidden || !strings.Contains(string(body), "immutable") {
			t.Errorf("DELETE %s: %d %s", path, status, body)
		}
	}
	if status, body := g.send(http.MethodDelete, "/api/v1/repositories/team%2Fsecret", "keeper", "", nil); status != http.StatusForbidden || !strings.Contains(string(body), "immutable") {
		t.Errorf("deleting the repository: %d %s", status, body)
	}
}

// TestWhatHappenedIsInTheAuditLog: changes with who, from where, and what;
// refusals, too.
func TestWhatHappenedIsInTheAuditLog(t *testing.T) {
	g := newGuarded(t)
	_, manifest := g.secretImage()
	g.send(http.MethodDelete, "/v2/team/secret/manifests/1", "keeper", "", nil)
	g.do(http.MethodGet, "/v2/team/secret/manifests/1", "elsewhere")
	g.do(http.MethodGet, "/v2/team/secret/manifests/1", "wrong password")
	g.do(http.MethodGet, "/v2/team/secret/manifests/1", "nobody")
	g.must(g.recorder.Flush(t.Context()))
	entries, err := audit.List(g.store.db.Read(t.Context()), audit.Filter{Limit: 100})
	g.must(err)
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintln(&text, e.Actor, e.Address, e.Action, e.Repository, e.Subject, e.OldDigest, e.Outcome)
	}
	for _, want := range []string{
		"user:keeper 127.0.0.1 tag.deleted team/secret 1 " + manifest.String() + " allowed",
		"user:elsewhere 127.0.0.1 pull team/secret   refused",
		"anonymous 127.0.0.1 login  reader  refused",
		"anonymous 127.0.0.1 pull team/secret   refused",
	} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("the audit log lacks %q:\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), password) {
		t.Error("the audit log has a password")
	}
}
