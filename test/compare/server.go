package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"slipway/test/floor"
)

// The servers, in the order of the tables.
const (
	floorName    = "floor"
	registryName = "docker-registry"
	slipwayName  = "slipway"
)

var allServers = []string{floorName, registryName, slipwayName}

// server is a process that answers on address.
type server struct {
	name    string
	version string
	address string
	cmd     *exec.Cmd
	log     string
	exited  chan struct{} // closed when the process has ended
}

// startAll returns those that were started even when one was not.
func startAll(ctx context.Context, o *options, dir string) ([]*server, error) {
	var servers []*server
	for _, name := range o.servers {
		s, err := start(ctx, o, name, filepath.Join(dir, name))
		if s != nil {
			servers = append(servers, s)
		}
		if err != nil {
			return servers, fmt.Errorf("start %s: %w", name, err)
		}
	}
	return servers, nil
}

func start(ctx context.Context, o *options, name, dir string) (*server, error) {
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &server{name: name, address: address, log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	switch name {
	case floorName:
		err = s.floor(data)
	case registryName:
		err = s.dockerRegistry(o.registry, dir, data)
	case slipwayName:
		err = s.slipway(o.slipway, data)
	}
	if err != nil {
		return nil, err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which then stops them
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // whoever waits for exited asks the process
		close(s.exited)
	}()
	return s, s.ready(ctx)
}

// serveFloor as first argument makes this program the floor.
const serveFloor = "serve-floor"

func (s *server) floor(data string) error {
	self, err := os.Executable()
	s.version = "test/floor, " + runtime.Version()
	s.cmd = exec.Command(self, serveFloor, s.address, data)
	return err
}

func runFloor(address, data string) error {
	s, err := floor.New(data)
	if err != nil {
		return err
	}
	return http.ListenAndServe(address, s)
}

// registryConfig is Debian's /etc/docker/registry/config.yml with another
// folder and address, and without its password file.
const registryConfig = `version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: %s
  delete:
    enabled: true
http:
  addr: %s
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
`

func (s *server) dockerRegistry(bin, dir, data string) error {
	version, err := versionOf(bin, "--version")
	if err != nil {
		return fmt.Errorf("%w; on Debian, 'apt install docker-registry' installs it", err)
	}
	s.version = version
	config := filepath.Join(dir, "config.yml")
	s.cmd = exec.Command(bin, "serve", config)
	return os.WriteFile(config, fmt.Appendf(nil, registryConfig, data, s.address), 0o644)
}

func (s *server) slipway(bin, data string) error {
	version, err := versionOf(bin, "version")
	if err != nil {
		return fmt.Errorf("%w; 'make build' builds it", err)
	}
	s.version = version
	s.cmd = exec.Command(bin, "serve", "--listen", s.address, "--data", data)
	return nil
}

func versionOf(bin, arg string) (string, error) {
	out, err := exec.Command(bin, arg).Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", bin, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready waits until the server answers.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		resp, err := http.Get("http://" + s.address + "/v2/")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("GET /v2/ gave status %d", resp.StatusCode)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.exited:
			return fmt.Errorf("it ended at once: %s", s.tail())
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// tail is the end of the log, for an error.
func (s *server) tail() string {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(log[max(0, len(log)-500):]))
}

// stop asks the process to end and kills it when it does not.
func (s *server) stop() error {
	select {
	case <-s.exited:
		return fmt.Errorf("%s ended during the comparison: %s", s.name, s.tail())
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return nil
	case <-time.After(40 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
		return fmt.Errorf("%s did not end within 40 s of SIGTERM", s.name)
	}
}
