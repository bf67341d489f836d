//go:build linux

package buildcrash

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"slipway/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.IsolateBuilder(m)) }

// bakeFile makes two images that are published together.
const bakeFile = `
group "default" { targets = ["app", "web"] }
target "app" {
  tags = ["app:latest"]
  args = { STEP = "app" }
}
target "web" {
  tags = ["web:latest"]
  args = { STEP = "web" }
}
`

// site is a server and a project that is built on it.
type site struct {
	*testing.T
	srv        *harness.Server
	dir        string
	interfaces map[string]bool // those that were there before
}

func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	harness.NeedBuilder(t)
	harness.Isolated(t)
	s := &site{T: t, dir: filepath.Join(t.TempDir(), "crash"), interfaces: map[string]bool{}}
	for _, name := range interfaces(t) {
		s.interfaces[name] = true
	}
	s.srv = harness.StartBuilder(t, harness.Options{Args: append([]string{"--log.access=false", "--mirror.offline"}, args...)})
	s.write("docker-bake.hcl", bakeFile)
	return s
}

func (s *site) write(name, content string) {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.Fatal(err)
	}
}

// program sets what the two images are made by.
func (s *site) program(step string) {
	s.Helper()
	s.write("Dockerfile", "FROM busybox\nARG STEP\nRUN "+step+"\n")
}

func (s *site) build(args ...string) *harness.Client {
	s.Helper()
	return harness.Command{Args: append([]string{"build", s.dir, "--data", s.srv.Data()}, args...)}.Go(s.T)
}

// mustBuild builds something new, which must be published.
func (s *site) mustBuild(content string) {
	s.Helper()
	s.program("echo " + content + " $STEP >/content")
	before := s.published()
	c := s.build()
	if code := c.Exit(); code != 0 {
		s.Fatalf("a build that nothing disturbs: exit code %d\n%s", code, c.Stderr())
	}
	after := s.published()
	if after[0] == before[0] || after[1] == before[1] {
		s.Fatalf("the tags were %v and are %v", before, after)
	}
}

// published are the digests of both images, empty before the first run.
func (s *site) published() (digests [2]string) {
	s.Helper()
	db := s.database()
	for i, name := range []string{"app", "web"} {
		err := db.QueryRow(`SELECT t.digest FROM tags t JOIN repositories r ON r.id = t.repository_id WHERE r.name = ? AND t.name = 'latest'`, name).Scan(&digests[i])
		if err != nil && err != sql.ErrNoRows {
			s.Fatal(err)
		}
	}
	return digests
}

// run is a run as `slipway logs -o json` shows it.
type run struct {
	Number       int64
	State, Error string
	Tags         []any
}

// last is the project's last run; its number is 0 if there is none.
func (s *site) last() (r run) {
	s.Helper()
	c := harness.Command{Args: []string{"logs", "crash", "--data", s.srv.Data(), "-o", "json"}}.Go(s.T)
	if code := c.Exit(); code != 0 {
		if strings.Contains(c.Stderr(), "has no run") {
			return r
		}
		s.Fatalf("slipway logs: exit code %d: %s", code, c.Stderr())
	}
	if err := json.Unmarshal([]byte(c.Stdout()), &r); err != nil {
		s.Fatalf("slipway logs: %v in %s", err, c.Stdout())
	}
	return r
}

// settled waits for the end of the last run, and returns it.
func (s *site) settled() (r run) {
	s.Helper()
	harness.Until(s.T, "the run ends", 30*time.Second, func() error {
		if r = s.last(); r.State == "running" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	return r
}

// database opens the server's own, to read what no address shows.
func (s *site) database() *sql.DB {
	s.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.srv.Data(), "slipway.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = db.Close() })
	return db
}

// pins are held by runs that ended, which they must not be.
func (s *site) pins() (held []string) {
	s.Helper()
	rows, err := s.database().Query(`SELECT DISTINCT holder FROM pins WHERE holder LIKE 'run %'`)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var h string
		if err := rows.Scan(&h); err != nil {
			s.Fatal(err)
		}
		held = append(held, h)
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return held
}

// nothingLeft waits until no process of the marker runs and, if the server was
// killed or has ended, nothing of it at all.
func (s *site) nothingLeft(marker string, ended bool) {
	s.Helper()
	harness.Until(s.T, "nothing is left", 20*time.Second, func() error {
		if pids := processes(marker); len(pids) > 0 {
			return fmt.Errorf("processes of the step: %v", pids)
		}
		if mounts := s.mounts(); len(mounts) > 0 {
			return fmt.Errorf("mounts: %v", mounts)
		}
		if !ended {
			return nil
		}
		if pids := processes("slipway-runc", "buildkitd\x00", s.srv.Data()); len(pids) > 0 {
			return fmt.Errorf("processes of the builder: %v", pids)
		}
		for _, name := range interfaces(s.T) {
			if !s.interfaces[name] {
				return fmt.Errorf("interface %s", name)
			}
		}
		return nil
	})
}

// mounts lists those below the data folder, of this mount namespace.
func (s *site) mounts() (list []string) {
	s.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], s.srv.Data()) {
			list = append(list, fields[4])
		}
	}
	return list
}

func interfaces(t *testing.T) (names []string) {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		names = append(names, i.Name)
	}
	return names
}

// processes finds those with one of the texts in their command line.
func processes(texts ...string) (found []int) {
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, path := range list {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		for _, text := range texts {
			if strings.Contains(string(raw), text) {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}
