package daemon

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// toml returns buildkitd's configuration. There is no registry in it: images come
// from and go to Slipway's store, over the session of each solve.
func (c Config) toml(dir, sockets, cgroupParent string) string {
	var b strings.Builder
	set := func(key string, value any) {
		switch v := value.(type) {
		case string:
			fmt.Fprintf(&b, "%s = %s\n", key, strconv.Quote(v))
		case int64:
			fmt.Fprintf(&b, "%s = \"%d\"\n", key, v)
		default:
			fmt.Fprintf(&b, "%s = %v\n", key, v)
		}
	}
	b.WriteString("# Written by Slipway at each start.\n")
	set("root", filepath.Join(c.Root, "state"))
	b.WriteString("insecure-entitlements = []\n")
	set("provenanceEnvDir", filepath.Join(dir, "provenance.d")) // not there: nothing is added
	b.WriteString("\n[log]\n")
	set("format", "json")
	b.WriteString("\n[grpc]\n")
	fmt.Fprintf(&b, "address = [ %s ]\n", strconv.Quote("unix://"+filepath.Join(sockets, "buildkitd.sock")))
	b.WriteString("\n[otel]\n")
	set("socketPath", filepath.Join(sockets, "otel.sock"))
	b.WriteString("\n[cdi]\n")
	set("disabled", true)
	b.WriteString("\n[worker.containerd]\n")
	set("enabled", false)
	b.WriteString("\n[worker.oci]\n")
	set("enabled", true)
	set("binary", c.Shim)
	set("networkMode", "cni")
	set("cniConfigPath", filepath.Join(dir, "cni.conflist"))
	set("cniBinaryPath", c.CNIDir)
	if cgroupParent != "" {
		set("defaultCgroupParent", cgroupParent)
	}
	set("gc", true)
	set("reservedSpace", c.Reserved)
	set("maxUsedSpace", c.MaxUsed)
	set("minFreeSpace", c.MinFree)
	return b.String()
}

// cni returns the network that each container gets: a link of its own to the
// daemon's namespace, which forwards to the outside only.
func cni(containers netip.Prefix, mtu int) ([]byte, error) {
	type m = map[string]any
	return json.Marshal(m{
		"cniVersion": "0.4.0",
		"name":       "slipway",
		"plugins": []m{{
			"type":   "ptp",
			"ipMasq": false,
			"mtu":    mtu,
			"ipam": m{
				"type":   "host-local",
				"ranges": [][]m{{{"subnet": containers.String()}}},
				"routes": []m{{"dst": "0.0.0.0/0"}},
			},
		}},
	})
}

// bundleCAs writes the machine's certificates and the further ones to one file,
// since the variables that programs know replace what they trust.
func bundleCAs(target string, files []string) error {
	var bundle []byte
	for _, system := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		raw, err := os.ReadFile(system)
		if err == nil {
			bundle = append(bundle, raw...)
			break
		}
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("CA certificates for builds: %w", err)
		}
		if !strings.Contains(string(raw), "-----BEGIN CERTIFICATE-----") {
			return fmt.Errorf("CA certificates for builds: %s holds no certificate in PEM", file)
		}
		bundle = append(append(bundle, '\n'), raw...)
	}
	return os.WriteFile(target, bundle, 0o644)
}
