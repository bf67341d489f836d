//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A data folder:
//
//	slipway.db          metadata, manifests, small blobs
//	blobs/, uploads/    see package blob
//	lock                held while a process uses the folder
//	control.sock        the REST API of that process, for whoever may read the folder
const (
	databaseFile  = "slipway.db"
	lockFile      = "lock"
	controlSocket = "control.sock"
)

// errLocked says that another process uses the data folder.
var errLocked = errors.New("another process uses this data folder")

func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/slipway"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "slipway")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "share", "slipway")
}

// lockDataDir makes the folder if it is missing and locks it until the file is
// closed or the process ends.
func lockDataDir(dir string) (*os.File, error) {
	if dir == "" {
		return nil, errors.New("no data folder: name one with --data DIR")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data folder: %w; check who may write there", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data folder %s: %w", dir, errLocked)
		}
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	return f, nil
}
