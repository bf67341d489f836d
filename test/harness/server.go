//go:build linux

package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	readyTimeout = 30 * time.Second
	// stopTimeout is longer than the server's own default for --drain, 30 s.
	stopTimeout = 45 * time.Second
)

// Options say how to start a server. The zero value is an open registry on a
// free loopback port with an empty data folder.
type Options struct {
	Args []string // more arguments for `slipway serve`
	Env  []string // more variables, as NAME=value
	Data string   // data folder; default: a temporary one
	Addr string   // address to listen on; default: a free port of 127.0.0.1
	Path string   // the program; default: Binary
}

// Server is a running `slipway serve`. Its methods end the test when they
// fail. They are for one goroutine; clients may use the server from many.
type Server struct {
	tb   testing.TB
	o    Options
	log  *logFile
	proc *process
}

// Start runs `slipway serve` and returns when /readyz answers 200. The server is
// stopped when the test ends, and it must then exit with code 0; its log is
// printed if the test failed.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if o.Data == "" {
		o.Data = filepath.Join(tempDir(tb, "slipway-data-"), "data")
	}
	if o.Addr == "" {
		o.Addr = FreeAddr(tb)
	}
	if o.Path == "" {
		o.Path = Binary(tb)
	}
	s := &Server{tb: tb, o: o, log: newLogFile(tb, "slipway serve")}
	tb.Cleanup(func() {
		if s.proc != nil {
			s.Stop()
		}
	})
	s.start()
	return s
}

// Host is the registry's name in an image reference: host:port.
func (s *Server) Host() string { return s.o.Addr }

// URL is the server's base address, without a slash at the end.
func (s *Server) URL() string { return "http://" + s.o.Addr }

// Data is the server's data folder.
func (s *Server) Data() string { return s.o.Data }

// Log returns everything that the server wrote so far, over all restarts.
func (s *Server) Log() string { return s.log.String() }

// PID is the running server's process id.
func (s *Server) PID() int {
	s.tb.Helper()
	if s.proc == nil {
		s.tb.Fatal("the server is not running")
	}
	return s.proc.cmd.Process.Pid
}

// Stop sends SIGTERM and waits. The server must finish by itself with exit code
// 0, and must not have reported a data race.
func (s *Server) Stop() {
	s.tb.Helper()
	err := s.end(syscall.SIGTERM)
	if err != nil {
		s.tb.Errorf("slipway serve after SIGTERM: %v", err)
	}
	if strings.Contains(s.Log(), "WARNING: DATA RACE") {
		s.tb.Error("slipway serve reported a data race; see its log")
	}
}

// Kill ends the server with SIGKILL, which it can neither see nor delay.
func (s *Server) Kill() {
	s.tb.Helper()
	err := s.end(syscall.SIGKILL)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.tb.Fatalf("killing slipway serve: %v", err)
	}
}

// Restart starts the server again, on the same address and data, after
// stopping it if it still runs.
func (s *Server) Restart() {
	s.tb.Helper()
	if s.proc != nil {
		s.Stop()
	}
	s.start()
}

// SetArgs changes the further arguments of `slipway serve` from the next
// Restart on.
func (s *Server) SetArgs(args ...string) { s.o.Args = args }

func (s *Server) end(sig syscall.Signal) error {
	s.tb.Helper()
	if s.proc == nil {
		s.tb.Fatal("the server is not running")
	}
	p := s.proc
	s.proc = nil
	return p.end(sig, stopTimeout)
}

func (s *Server) start() {
	s.tb.Helper()
	cmd := exec.Command(s.o.Path, append([]string{"serve", "--listen", s.o.Addr, "--data", s.o.Data}, s.o.Args...)...)
	cmd.Env = append(environ(), s.o.Env...)
	p, err := startProcess(cmd, s.log)
	if err != nil {
		s.tb.Fatalf("starting slipway serve: %v", err)
	}
	s.proc = p
	if err := p.waitFor(readyTimeout, func(ctx context.Context) error { return getOK(ctx, s.URL()+"/readyz") }); err != nil {
		s.tb.Fatalf("slipway serve is not ready: %v", err)
	}
}

// environ is the environment without what configures slipway or its tests.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SLIPWAY_") })
}

func getOK(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return nil
}

var handedOut sync.Map // addresses given by FreeAddr in this process

// FreeAddr returns a loopback address, 127.0.0.1:port, that nothing listens on.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		addr := l.Addr().String()
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		if _, taken := handedOut.LoadOrStore(addr, true); !taken {
			return addr
		}
	}
}
