package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

// walk follows Link from page to page and returns what was on them.
func (s *server) walk(path string, items func(*answer) []string) (pages [][]string) {
	s.t.Helper()
	for path != "" {
		a := s.do("GET", path, nil).want(200)
		pages = append(pages, items(a))
		link := a.header.Get("Link")
		path = ""
		if link != "" {
			rest, whole := strings.CutSuffix(link, `>; rel="next"`)
			var begins bool
			if path, begins = strings.CutPrefix(rest, "<"); !whole || !begins || !strings.HasPrefix(path, "/v2/") {
				s.t.Fatalf("Link: %q", link)
			}
		}
		if len(pages) > 100 {
			s.t.Fatal("the pages do not end")
		}
	}
	return pages
}

func tagsOf(a *answer) []string {
	var doc struct {
		Name string
		Tags []string
	}
	a.json(&doc)
	if doc.Name != "app" || doc.Tags == nil {
		a.t.Errorf("%s: %s", a.asked, a.body)
	}
	return doc.Tags
}

func repositoriesOf(a *answer) []string {
	var doc struct{ Repositories []string }
	a.json(&doc)
	if doc.Repositories == nil {
		a.t.Errorf("%s: %s", a.asked, a.body)
	}
	return doc.Repositories
}

func TestPages(t *testing.T) {
	s := start(t, options{hidden: "secret"})
	// In byte order: digits, capitals, '_', small letters.
	tags := []string{"0", "00", "10", "9", "A", "Z", "_", "a", "a-", "a.", "a0", "aa", "b", "latest", "v1.10", "v1.9"}
	manifest := registrytest.Image(imageConfig)
	s.PutBlob("app", imageConfig)
	s.PutManifest("app", manifest, tags...)
	repositories := []string{"a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "aa", "app", "b"}
	for _, name := range append([]string{"secret", "secret/x", "secretly"}, repositories...) {
		s.PutImage(name, "v1")
	}
	s.do("PUT", "/v2/app/manifests/v1", manifest, "Content-Type", typeImage).want(201)
	tags = append(tags, "v1")
	slices.Sort(tags)
	s.PutBlob("only-blobs", imageConfig) // holds no manifest: not in the catalog

	for _, l := range []struct {
		path  string
		items func(*answer) []string
		all   []string
	}{
		{"/v2/app/tags/list", tagsOf, tags},
		{"/v2/_catalog", repositoriesOf, repositories},
	} {
		for _, query := range []string{"", "?n=1000", fmt.Sprintf("?n=%d", len(l.all)), "?n=99999999", "?last=", "?n="} {
			pages := s.walk(l.path+query, l.items)
			if len(pages) != 1 || !slices.Equal(pages[0], l.all) {
				t.Errorf("%s%s: %v, want one page %v", l.path, query, pages, l.all)
			}
		}
		for n := 1; n < len(l.all); n++ {
			pages := s.walk(fmt.Sprintf("%s?n=%d", l.path, n), l.items)
			if want := slices.Collect(slices.Chunk(l.all, n)); !slices.EqualFunc(pages, want, slices.Equal) {
				t.Errorf("%s by %d: %v, want %v", l.path, n, pages, want)
			}
		}
		a := s.do("GET", l.path+"?n=0", nil).want(200, "Link", "")
		if got := l.items(a); len(got) != 0 {
			t.Errorf("%s?n=0: %v", l.path, got)
		}
		for i, name := range l.all { // last is exclusive, and need not exist
			for last, want := range map[string][]string{name: l.all[i+1:], name + "!": l.all[i+1:], "zzz": {}} {
				if last != "zzz" && name+"!" == last && i+1 < len(l.all) && l.all[i+1] < last {
					continue
				}
				if got := l.items(s.do("GET", l.path+"?last="+last, nil).want(200)); !slices.Equal(got, want) {
					t.Errorf("%s?last=%s: %v, want %v", l.path, last, got, want)
				}
			}
		}
	}
	s.do("GET", "/v2/app/tags/list?n=3&last=a", nil).want(200, "Link", `</v2/app/tags/list?last=a0&n=3>; rel="next"`)
	s.do("GET", "/v2/_catalog?n=2", nil).want(200, "Link", `</v2/_catalog?last=a-b&n=2>; rel="next"`)
	s.do("GET", "/v2/_catalog?last=a-b&n=2", nil).want(200, "Link", `</v2/_catalog?last=a%2Fb&n=2>; rel="next"`)
}

type descriptor struct {
	MediaType, Digest, ArtifactType string
	Size                            int64
	Annotations                     map[string]string
}

func referrersOf(a *answer) []descriptor {
	var doc struct {
		SchemaVersion int
		MediaType     string
		Manifests     []descriptor
	}
	a.json(&doc)
	a.want(200, "Content-Type", typeIndex)
	if doc.SchemaVersion != 2 || doc.MediaType != typeIndex || doc.Manifests == nil {
		a.t.Errorf("%s: %s", a.asked, a.body)
	}
	return doc.Manifests
}

func digestsOf(a *answer) (list []string) {
	for _, d := range referrersOf(a) {
		list = append(list, d.Digest)
	}
	return list
}

func TestReferrers(t *testing.T) {
	s := start(t, options{})
	subject := registrytest.Image(imageConfig)
	d := sha256Of(subject).String()
	path := "/v2/app/referrers/" + d

	for _, p := range []string{path, "/v2/nobody/referrers/" + d, "/v2/app/referrers/" + oci.FromBytes(oci.SHA512, nil).String()} {
		if got := referrersOf(s.do("GET", p, nil).want(200, "Link", "", "OCI-Filters-Applied", "")); len(got) != 0 {
			t.Errorf("%s: %v", p, got)
		}
	}

	// The subject comes later, or never.
	s.PutBlob("app", []byte("{}"))
	s.PutBlob("app", imageConfig)
	var all, sboms []string
	annotations := map[string]string{"org.example.key": "value", "empty": ""}
	for i := range 7 {
		artifactType := "text/sbom"
		if i%2 == 1 {
			artifactType = "text/signature"
		}
		content := registrytest.Artifact(artifactType, subject, map[string]string{"i": fmt.Sprint(i)})
		s.putManifest("app", sha256Of(content).String(), typeImage, content).want(201, "OCI-Subject", d)
		all = append(all, sha256Of(content).String())
		if artifactType == "text/sbom" {
			sboms = append(sboms, sha256Of(content).String())
		}
	}
	annotated := registrytest.Artifact("text/annotated", subject, annotations)
	s.putManifest("app", "by-tag", typeImage, annotated).want(201, "OCI-Subject", d)
	all = append(all, sha256Of(annotated).String())
	// Without an artifactType an image is what its configuration is.
	plain := registrytest.Artifact("", subject, nil)
	s.putManifest("app", sha256Of(plain).String(), typeImage, plain).want(201, "OCI-Subject", d)
	all = append(all, sha256Of(plain).String())
	index := fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[],"artifactType":"text/index","subject":{"digest":"%s","size":%d}}`, d, len(subject))
	s.putManifest("app", sha256Of(index).String(), typeIndex, index).want(201, "OCI-Subject", d)
	all = append(all, sha256Of(index).String())
	slices.Sort(all)
	slices.Sort(sboms)

	byDigest := map[string]descriptor{}
	a := s.do("GET", path, nil)
	for _, r := range referrersOf(a) {
		byDigest[r.Digest] = r
	}
	if got := digestsOf(a); !slices.Equal(got, all) {
		t.Errorf("referrers: %v, want %v", got, all)
	}
	if r := byDigest[sha256Of(annotated).String()]; r.ArtifactType != "text/annotated" || r.MediaType != typeImage || r.Size != int64(len(annotated)) || fmt.Sprint(r.Annotations) != fmt.Sprint(annotations) {
		t.Errorf("descriptor: %+v", r)
	}
	if r := byDigest[sha256Of(plain).String()]; r.ArtifactType != "application/vnd.oci.empty.v1+json" {
		t.Errorf("artifactType of an image without one: %+v", r)
	}
	if r := byDigest[sha256Of(index).String()]; r.ArtifactType != "text/index" || r.MediaType != typeIndex {
		t.Errorf("descriptor of an index: %+v", r)
	}

	if got := digestsOf(s.do("GET", path+"?artifactType=text/sbom", nil).want(200, "OCI-Filters-Applied", "artifactType")); !slices.Equal(got, sboms) {
		t.Errorf("filtered: %v, want %v", got, sboms)
	}
	for n := 1; n <= len(all); n++ {
		if pages := s.walk(fmt.Sprintf("%s?n=%d", path, n), digestsOf); !slices.EqualFunc(pages, slices.Collect(slices.Chunk(all, n)), slices.Equal) {
			t.Errorf("pages of %d: %v", n, pages)
		}
		if pages := s.walk(fmt.Sprintf("%s?n=%d&artifactType=text%%2Fsbom", path, n), digestsOf); !slices.EqualFunc(pages, slices.Collect(slices.Chunk(sboms, n)), slices.Equal) {
			t.Errorf("filtered pages of %d: %v", n, pages)
		}
	}

	s.putManifest("app", "v1", typeImage, subject).want(201, "OCI-Subject", "")
	s.do("DELETE", "/v2/app/manifests/"+all[0], nil).want(202)
	if got := digestsOf(s.do("GET", path, nil)); !slices.Equal(got, all[1:]) {
		t.Errorf("after a deletion: %v", got)
	}
	if got := referrersOf(s.do("GET", "/v2/other/referrers/"+d, nil)); len(got) != 0 {
		t.Errorf("another repository: %v", got)
	}
}

// Clients of registries without the API put referrers into an index under the
// tag sha256-<hex>. They name their subject themselves, so they are found.
func TestReferrersOfTheFallbackTag(t *testing.T) {
	s := start(t, options{})
	subject := registrytest.Image(imageConfig)
	s.PutImage("app", "v1")
	s.PutBlob("app", []byte("{}"))
	referrer := registrytest.Artifact("text/sbom", subject, nil)
	s.putManifest("app", sha256Of(referrer).String(), typeImage, referrer).want(201)
	d := sha256Of(subject)
	s.putManifest("app", "sha256-"+d.Encoded(), typeIndex, registrytest.Index(referrer)).want(201)
	if got := digestsOf(s.do("GET", "/v2/app/referrers/"+d.String(), nil)); !slices.Equal(got, []string{sha256Of(referrer).String()}) {
		t.Errorf("referrers: %v", got)
	}
	s.do("GET", "/v2/app/manifests/sha256-"+d.Encoded(), nil).want(200) // and the tag is a tag
}

// A page of referrers with huge annotations is cut, so that clients that read
// 4 MiB see all of it.
func TestReferrersWithHugeAnnotations(t *testing.T) {
	s := start(t, options{})
	subject := registrytest.Image(imageConfig)
	s.PutBlob("app", []byte("{}"))
	var all []string
	for i := range 5 {
		content := registrytest.Artifact("text/x", subject, map[string]string{"big": strings.Repeat(string(rune('a'+i)), 1<<20)})
		all = append(all, s.PutManifest("app", content).String())
	}
	slices.Sort(all)
	pages := s.walk("/v2/app/referrers/"+sha256Of(subject).String(), func(a *answer) []string {
		if len(a.body) > 4<<20 {
			t.Errorf("a page has %d bytes", len(a.body))
		}
		return digestsOf(a)
	})
	if got := slices.Concat(pages...); !slices.Equal(got, all) || len(pages) < 2 {
		t.Errorf("%d pages: %v, want %v", len(pages), got, all)
	}
}
