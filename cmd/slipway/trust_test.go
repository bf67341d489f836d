package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// newTrustLine runs commands against a server that signed its certificate
// itself, and offers it for trust. DIR is an empty machine with Docker.
func newTrustLine(t *testing.T) (c *commandLine, fingerprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c = newCommandLine(t, http.NotFoundHandler())
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/trust/ca.crt" {
			_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // the client says so
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	c.host = s.Listener.Addr().String()
	if err := os.MkdirAll(filepath.Join(c.dir, "etc/docker"), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return c, "sha256:" + hex.EncodeToString(sum[:])
}

func (c *commandLine) trusted() bool {
	_, err := os.Stat(filepath.Join(c.dir, "etc/docker/certs.d", c.host, "ca.crt"))
	return err == nil
}

func TestTrust(t *testing.T) {
	c, fingerprint := newTrustLine(t)
	wrong := "sha256:" + strings.Repeat("0a", 32)
	for _, r := range []struct {
		line    string
		code    int
		want    []string
		trusted bool
	}{
		{"trust HOST --root DIR", exitFailure, []string{fingerprint, "Test CA", "--fingerprint", "nothing was written"}, false},
		{"trust HOST --root DIR --fingerprint " + wrong, exitFailure, []string{"expected " + wrong, "got      " + fingerprint, "nothing was written"}, false},
		{"trust HOST --root DIR --yes --fingerprint " + wrong, exitFailure, []string{"nothing was written"}, false},
		{"trust HOST --root DIR --dry-run", 0, []string{"would write /etc/docker/certs.d/HOST/ca.crt", "BEGIN CERTIFICATE"}, false},
		{"trust HOST --root DIR --undo", 0, []string{"nothing that trust wrote"}, false},
		{"trust HOST --root DIR --fingerprint " + strings.ToUpper(fingerprint), 0, []string{"wrote /etc/docker/certs.d/HOST/ca.crt"}, true},
		{"trust HOST --root DIR --yes", 0, []string{"there already: /etc/docker/certs.d/HOST/ca.crt"}, true},
		{"trust HOST --root DIR --yes --system", exitFailure, []string{"leave out --system"}, true},
		{"trust HOST --root DIR --undo --dry-run", 0, []string{"would remove /etc"}, true},
		{"trust HOST --root DIR --undo", 0, []string{"removed /etc"}, false},
		{"trust HOST --root DIR --yes --for rkt", exitUsage, []string{"rkt", "docker, podman"}, false},
		{"trust a/../b --yes", exitUsage, []string{"more than a registry"}, false},
		{"trust", exitUsage, []string{"give one registry"}, false},
		{"trust HOST --fingerprint 12", exitUsage, []string{"no fingerprint"}, false},
		{"trust HOST --undo --fingerprint " + fingerprint, exitUsage, []string{"--undo goes with"}, false},
		{"trust HOST --with-login", exitUsage, []string{"--kubernetes"}, false},
		{"trust HOST -o yaml", exitUsage, []string{"text or json"}, false},
	} {
		code, stdout, stderr := c.run(r.line)
		if code != r.code || c.trusted() != r.trusted {
			t.Errorf("slipway %s: exit code %d, trusted %t\n%s%s", r.line, code, c.trusted(), stdout, stderr)
		}
		for _, w := range r.want {
			if !strings.Contains(stdout+stderr, w) {
				t.Errorf("slipway %s: no %q in\n%s%s", r.line, w, stdout, stderr)
			}
		}
	}
}

func TestTrustJSON(t *testing.T) {
	c, fingerprint := newTrustLine(t)
	var got struct {
		Host      string
		DryRun    bool
		Authority struct{ Subject, Fingerprint string }
		Steps     []struct {
			Tool  string
			Files []struct {
				Path, Action, Content string
				Done                  bool
			}
		}
		Warnings []string
	}
	line := "trust HOST --root DIR --fingerprint " + fingerprint + " -o json"
	out := c.ok(line)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if got.Host != "HOST" || got.DryRun || got.Authority.Fingerprint != fingerprint || got.Authority.Subject != "CN=Test CA" || got.Warnings == nil ||
		len(got.Steps) != 1 || got.Steps[0].Tool != "docker" || got.Steps[0].Files[0].Action != "write" || !got.Steps[0].Files[0].Done {
		t.Errorf("%+v", got)
	}
}

func TestTrustKubernetes(t *testing.T) {
	c, fingerprint := newTrustLine(t)
	const password = "a password of somebody's"
	config := `{"auths": {"` + c.host + `": {"auth": "` + base64.StdEncoding.EncodeToString([]byte("anna:"+password)) + `"}}}`
	line := "trust HOST --kubernetes --fingerprint " + fingerprint
	if code, _, stderr := c.run(line + " --with-login"); code != exitFailure || !strings.Contains(stderr, "docker login HOST") {
		t.Errorf("without a login: exit code %d: %s", code, stderr)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	documents := func(text string) (list []map[string]any) {
		for d := yaml.NewDecoder(strings.NewReader(text)); ; {
			var one map[string]any
			if err := d.Decode(&one); errors.Is(err, io.EOF) {
				return list
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			list = append(list, one)
		}
	}
	plain := c.ok(line)
	list := documents(plain)
	if len(list) != 2 || list[0]["kind"] != "ConfigMap" || list[1]["kind"] != "DaemonSet" {
		t.Fatalf("%v", list)
	}
	data := list[0]["data"].(map[string]any)
	if block, _ := pem.Decode([]byte(data["ca.crt"].(string))); block == nil || !strings.Contains(data["hosts.toml"].(string), `ca = "/etc/containerd/certs.d/HOST/ca.crt"`) {
		t.Errorf("%v", data)
	}
	if strings.Contains(plain, "Secret\n") || strings.Contains(plain, base64.StdEncoding.EncodeToString([]byte("anna:"))) {
		t.Error("it prints a password that nobody asked for")
	}
	list = documents(c.ok(line + " --with-login --namespace shop"))
	secret := list[len(list)-1]
	stored, err := base64.StdEncoding.DecodeString(secret["data"].(map[string]any)[".dockerconfigjson"].(string))
	if err != nil || secret["type"] != "kubernetes.io/dockerconfigjson" || secret["metadata"].(map[string]any)["namespace"] != "shop" {
		t.Fatalf("%v, %v", secret, err)
	}
	var is, want map[string]any
	if json.Unmarshal(stored, &is) != nil || json.Unmarshal([]byte(config), &want) != nil || len(is) != 1 {
		t.Fatalf("%s", stored)
	}
	if is["auths"].(map[string]any)[c.host].(map[string]any)["auth"] != want["auths"].(map[string]any)[c.host].(map[string]any)["auth"] {
		t.Errorf("the secret holds %s", stored)
	}
	if c.trusted() {
		t.Error("it wrote files")
	}
}
