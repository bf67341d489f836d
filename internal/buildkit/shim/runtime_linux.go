package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// runtimeMain stands in for runc: it edits the bundle of a container that is to
// be created, then becomes runc with the same arguments.
func runtimeMain(args []string) (int, error) {
	folder := os.Getenv(EnvFolder)
	if folder == "" {
		return 1, errors.New("this program is for buildkitd, started by slipway; " + EnvFolder + " is not set")
	}
	raw, err := os.ReadFile(filepath.Join(folder, SettingsFile))
	if err != nil {
		return 1, err
	}
	var settings Settings
	if err := json.Unmarshal(raw, &settings); err != nil {
		return 1, fmt.Errorf("reading %s: %w", SettingsFile, err)
	}
	argv := append([]string{settings.Runtime}, args[1:]...)
	err = syscall.Exec(settings.Runtime, argv, os.Environ())
	return 1, fmt.Errorf("starting %s: %w", settings.Runtime, err)
}
