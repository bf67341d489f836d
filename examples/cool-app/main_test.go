package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cool-app/internal/dbtest"
)

// beCoolApp makes the test program be the service itself.
const beCoolApp = "TEST_BE_COOL_APP"

func TestMain(m *testing.M) {
	if os.Getenv(beCoolApp) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// settings returns the environment of an instance on a new database.
func settings(t *testing.T, more ...string) []string {
	t.Helper()
	c := dbtest.Empty(t).ConnConfig
	secret := ""
	if c.Password != "" {
		secret = "COOL_APP_DATABASE_PASSWORD=" + c.Password
	}
	return append([]string{
		fmt.Sprintf("COOL_APP_DATABASE_URL=host=%s port=%d user=%s dbname=%s", c.Host, c.Port, c.User, c.Database),
		secret, "COOL_APP_LISTEN=127.0.0.1:0",
	}, more...)
}

// process is an instance with its log, line by line.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	out   bytes.Buffer
	url   string
}

func startProcess(t *testing.T, environ ...string) *process {
	t.Helper()
	p := launch(t, environ)
	p.becomeReady()
	return p
}

func launch(t *testing.T, environ []string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append([]string{beCoolApp + "=1"}, environ...)
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // it has ended, where the test went well
	p.lines = bufio.NewScanner(io.TeeReader(stdout, &p.out))
	return p
}

func (p *process) becomeReady() {
	p.t.Helper()
	p.url = "http://" + p.until("ready")["address"].(string)
}

// until reads the log to a message.
func (p *process) until(message string) map[string]any {
	p.t.Helper()
	for p.lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(p.lines.Bytes(), &line); err != nil {
			p.t.Fatalf("the log has the line %q: %v", p.lines.Text(), err)
		}
		if line["msg"] == message {
			return line
		}
	}
	p.t.Fatalf("the service ended before it said %q:\n%s", message, p.out.String())
	return nil
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func TestSignals(t *testing.T) {
	log := filepath.Join(t.TempDir(), "cool-app.log")
	p := startProcess(t, settings(t, "COOL_APP_LOG_FILE="+log, "COOL_APP_INSTANCE=one")...)
	post := func(body io.Reader) (*http.Response, error) {
		return http.Post(p.url+"/api/v1/tasks", "application/json", body)
	}
	if r, err := post(strings.NewReader(`{"title": "a"}`)); err != nil || r.StatusCode != 201 || r.Header.Get("Instance") != "one" {
		t.Fatalf("%v, %v", r, err)
	}
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.until("log file opened again")

	// A request that is under way when SIGTERM comes is answered.
	body, send := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		r, err := post(body)
		if err == nil && r.StatusCode != 201 {
			err = errors.New(r.Status)
		}
		answered <- err
	}()
	if _, err := io.WriteString(send, `{"title": `); err != nil { // the service reads: the request is under way
		t.Fatal(err)
	}
	waitForRequest(t, p)
	p.signal(syscall.SIGTERM)
	p.until("stopping")
	if _, err := io.WriteString(send, `"late"}`); err != nil {
		t.Fatal(err)
	}
	send.Close()
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	p.until("stopped")
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}

	before, err := os.ReadFile(log + ".1")
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(before) + string(after); got != p.out.String() || !bytes.Contains(after, []byte(`"stopped"`)) {
		t.Errorf("the files hold\n%s\nstandard output got\n%s", got, p.out.String())
	}
}

// waitForRequest returns when the service has seen the requests that were sent
// before: it takes connections in order.
func waitForRequest(t *testing.T, p *process) {
	t.Helper()
	if r, err := http.Get(p.url + "/healthz"); err != nil || r.StatusCode != 200 {
		t.Fatalf("%v, %v", r, err)
	}
}

// Two instances that start at once on a new database are one service.
func TestTwoInstances(t *testing.T) {
	environ := settings(t)
	one, two := launch(t, environ), launch(t, environ)
	one.becomeReady()
	two.becomeReady()
	r, err := http.Post(one.url+"/api/v1/tasks", "application/json", strings.NewReader(`{"title": "shared"}`))
	if err != nil || r.StatusCode != 201 {
		t.Fatalf("%v, %v", r, err)
	}
	path := r.Header.Get("Location")
	change := func(p *process) int {
		request, err := http.NewRequest(http.MethodPut, p.url+path, strings.NewReader(`{"title": "changed"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("If-Match", r.Header.Get("ETag"))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode
	}
	if a, b := change(two), change(one); a != 200 || b != 412 {
		t.Errorf("changing the same version through both: %d and %d", a, b)
	}
	for _, p := range []*process{one, two} {
		p.signal(syscall.SIGTERM)
		p.until("stopped")
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		environ []string
		want    string // in the error
		stdout  string // in the output
	}{
		{"help", []string{"-help"}, nil, "", "COOL_APP_DATABASE_URL"},
		{"flag", []string{"-x"}, nil, "-x", "COOL_APP_DATABASE_URL"},
		{"no database", nil, nil, "COOL_APP_DATABASE_URL: it is required", ""},
		{"command", []string{"dance"}, []string{"COOL_APP_DATABASE_URL=host=db"}, `no command "dance"`, ""},
		{"arguments", []string{"serve", "now"}, []string{"COOL_APP_DATABASE_URL=host=db"}, `"now"`, ""},
		{"log file", nil, []string{"COOL_APP_DATABASE_URL=host=db", "COOL_APP_LOG_FILE=/nowhere/log"}, "opening the log file", ""},
		{"address", nil, []string{"COOL_APP_DATABASE_URL=host=db", "COOL_APP_LISTEN=192.0.2.1:80"}, "COOL_APP_LISTEN", ""},
		{"no health", []string{"health"}, []string{"COOL_APP_DATABASE_URL=host=db", "COOL_APP_LISTEN=:1"}, "127.0.0.1:1", ""},
		{"database does not come", nil, []string{"COOL_APP_DATABASE_URL=host=127.0.0.1 port=1 password=s3cret", "COOL_APP_LISTEN=127.0.0.1:0", "COOL_APP_START_TIMEOUT=100ms"},
			"gave up waiting for the database", "waiting for the database"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(context.Background(), test.args, test.environ, &out)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			if !strings.Contains(out.String(), test.stdout) {
				t.Errorf("the output lacks %q:\n%s", test.stdout, out.String())
			}
			if strings.Contains(out.String(), "s3cret") || err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the password is told: %v\n%s", err, out.String())
			}
		})
	}
}

// The whole life in this process, so that coverage sees it.
func TestServeAndHealth(t *testing.T) {
	environ := settings(t, "COOL_APP_DRAIN=5s")
	if err := run(context.Background(), []string{"migrate"}, environ, io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, nil, environ, in)
		in.Close()
		ended <- err
	}()
	p := &process{t: t, lines: bufio.NewScanner(io.TeeReader(out, io.Discard))}
	address := p.until("ready")["address"].(string)
	check := append(environ, "COOL_APP_LISTEN="+address)
	go func() { _, _ = io.Copy(io.Discard, out) }() // the pipe must not fill
	if err := run(context.Background(), []string{"health"}, check, io.Discard); err != nil {
		t.Error(err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if err := run(context.Background(), []string{"health"}, check, io.Discard); err == nil {
		t.Error("healthy after its end")
	}
}
