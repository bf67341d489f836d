//go:build linux

package daemon_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway/internal/buildkit/daemon"
)

func TestX(t *testing.T) {
	root, _ := os.MkdirTemp("", "bk")
	b, _ := filepath.Abs("../../../.build")
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d, err := daemon.Start(t.Context(), daemon.Config{Root: root, Log: log, Binary: b + "/buildkitd", Shim: b + "/slipway-runc"})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(d.Address(), d.Subnet())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	at := time.Now()
	c, err := d.Client(ctx)
	if err != nil {
		t.Error(err)
	} else {
		t.Log(time.Since(at))
		t.Log(c.ListWorkers(ctx))
	}
	t.Log(d.Close())
}
