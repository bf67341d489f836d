//go:build linux

package service

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"slipway/test/harness"
)

// maxExposure is the highest score that `systemd-analyze security` may give the
// unit: 0 is closed, 10 is an ordinary service. What remains open is the network.
const maxExposure = 1.5

func TestSystemdUnit(t *testing.T) {
	analyze := harness.Tool(t, "systemd-analyze")
	unit, err := os.ReadFile("../../deploy/slipway.service")
	if err != nil {
		t.Fatal(err)
	}
	// systemd looks for the program where the unit says it is installed.
	const installed = "/usr/local/bin/slipway"
	if !strings.Contains(string(unit), "ExecStart="+installed) {
		t.Fatalf("the unit does not start %s", installed)
	}
	path := filepath.Join(t.TempDir(), "slipway.service")
	patched := strings.ReplaceAll(string(unit), "ExecStart="+installed, "ExecStart="+harness.Binary(t))
	if err := os.WriteFile(path, []byte(patched), 0o644); err != nil {
		t.Fatal(err)
	}

	if out := harness.Run(t, analyze, "verify", "--man=no", path); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	out := harness.Run(t, analyze, "security", "--no-pager", "--offline=yes", path)
	_, score, ok := strings.Cut(out, "Overall exposure level for slipway.service: ")
	if !ok {
		t.Fatalf("no score in:\n%s", out)
	}
	exposure, err := strconv.ParseFloat(strings.Fields(score)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("exposure %.1f of 10", exposure)
	if exposure > maxExposure {
		t.Errorf("exposure %.1f, at most %.1f wanted:\n%s", exposure, maxExposure, out)
	}
}
