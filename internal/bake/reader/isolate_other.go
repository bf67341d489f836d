//go:build !linux

package reader

import (
	"os"

	"slipway/internal/bake"
)

func isolate(root string, _ bake.Isolation) error { return os.Chdir(root) }
