//go:build linux

package conformance

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"slipway/test/harness"
)

// options switch on what the suite leaves off by default, and name the rest, so
// that a changed default cannot quietly leave a test out.
var options = []string{
	"OCI_VERSION=dev",
	"OCI_REPO1=conformance/repo1",
	"OCI_REPO2=conformance/repo2",
	"OCI_API_PULL=true",
	"OCI_API_PUSH=true",
	"OCI_API_BLOBS_ATOMIC=true",
	"OCI_API_BLOBS_DELETE=true",
	"OCI_API_BLOBS_DIGEST_HEADER=true",
	"OCI_API_BLOBS_MOUNT_ANONYMOUS=true",
	"OCI_API_BLOBS_UPLOAD_CANCEL=true",
	"OCI_API_MANIFESTS_ATOMIC=true",
	"OCI_API_MANIFESTS_DELETE=true",
	"OCI_API_MANIFESTS_DIGEST_HEADER=true",
	"OCI_API_MANIFESTS_TAG_PARAM=true",
	"OCI_API_TAGS_ATOMIC=true",
	"OCI_API_TAGS_DELETE=true",
	"OCI_API_TAGS_LIST=true",
	"OCI_API_REFERRER=true",
	"OCI_DATA_IMAGE=true",
	"OCI_DATA_INDEX=true",
	"OCI_DATA_INDEX_LIST=true",
	"OCI_DATA_SPARSE=true",
	"OCI_DATA_ARTIFACT=true",
	"OCI_DATA_SUBJECT=true",
	"OCI_DATA_SUBJECT_MISSING=true",
	"OCI_DATA_ARTIFACT_LIST=true",
	"OCI_DATA_SUBJECT_LIST=true",
	"OCI_DATA_DATA_FIELD=true",
	"OCI_DATA_NONDISTRIBUTABLE=true",
	"OCI_DATA_CUSTOM_FIELDS=true",
	"OCI_DATA_NO_LAYERS=true",
	"OCI_DATA_EMPTY_BLOB=true",
	"OCI_DATA_SHA512=true",
}

func TestConformance(t *testing.T) {
	srv := harness.Start(t, harness.Options{Args: []string{"--sparse", "all"}})
	conform(t, srv, "OCI_TLS=disabled")
}

// The same by TLS, for a user who logs in, where nobody else may do anything. The
// suite logs in for each request: a token that it kept of pushing to one
// repository would not do for mounting from another, for which other clients ask
// for both at once, and it would send the blob instead.
func TestConformanceWithLogin(t *testing.T) {
	srv := harness.Start(t, harness.Options{Args: []string{"--sparse", "all", "--anonymous", "none"}})
	harness.Command{Path: harness.Binary(t), Args: []string{"user", "add", "suite", "--password-stdin", "--data", srv.Data()}, Stdin: []byte("a long password")}.Run(t)
	harness.Run(t, harness.Binary(t), "policy", "add", "user:suite", "pull,push,delete", "conformance/**", "--data", srv.Data())
	conform(t, srv, "OCI_TLS=enabled", "OCI_CACHE_AUTH=false", "OCI_USERNAME=suite", "OCI_PASSWORD=a long password", "SSL_CERT_FILE="+filepath.Join(srv.Data(), "tls", "ca.crt"))
}

// conform runs the suite against a server and fails unless all of it passes.
func conform(t *testing.T, srv *harness.Server, env ...string) {
	t.Helper()
	suite := harness.Tool(t, "conformance")
	results := t.TempDir()

	cmd := exec.Command(suite)
	cmd.Dir = results // the suite reads a configuration file from where it runs
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"OCI_REGISTRY=" + srv.Host(),
		"OCI_RESULTS_DIR=" + results,
	}, append(env, options...)...)
	// The exit code is no guide: it is also 0 when the suite could not begin.
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}

	cases, err := readJUnit(filepath.Join(results, "junit.xml"))
	if err != nil {
		t.Fatalf("no results: %v\n%s", err, out)
	}
	count := map[string]int{}
	for _, c := range cases {
		count[c.Status]++
		if c.Status != "passed" {
			t.Errorf("%s: %s\n%s", c.Status, c.Name, indent(c.Out))
		}
	}
	if count["passed"] == 0 {
		t.Errorf("nothing passed:\n%s", out)
	}
	t.Logf("OCI distribution-spec conformance (dev): %s", format(count))
	requireAllPass(t, filepath.Join(results, "results.yaml"))
}

// requireAllPass checks the suite's summary by API and by kind of data, where a
// test that was switched off shows as Disabled.
func requireAllPass(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var summary struct {
		APIs map[string]string `yaml:"apis"`
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal(b, &summary); err != nil {
		t.Fatal(err)
	}
	if len(summary.APIs) == 0 || len(summary.Data) == 0 {
		t.Fatalf("the summary names %d APIs and %d kinds of data", len(summary.APIs), len(summary.Data))
	}
	for _, group := range []map[string]string{summary.APIs, summary.Data} {
		for name, status := range group {
			if status != "Pass" {
				t.Errorf("summary: %s: %s", name, status)
			}
		}
	}
	t.Logf("all of %d APIs and %d kinds of data", len(summary.APIs), len(summary.Data))
}

type testCase struct {
	Name   string `xml:"name,attr"`
	Status string `xml:"status,attr"` // passed, skipped, failure or error
	Out    string `xml:"system-out"`
}

func readJUnit(path string) ([]testCase, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Cases []testCase `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	return doc.Cases, nil
}

func format(count map[string]int) string {
	var parts []string
	for status, n := range count {
		parts = append(parts, fmt.Sprintf("%d %s", n, status))
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}
