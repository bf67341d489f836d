//go:build linux

package crash

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/test/check"
	"slipway/test/harness"
)

// TestPowerCutLosesUnsynced shows that a power cut, as it is made here, takes
// what was not synced and leaves what was. Without that, TestPowerCut would
// prove nothing.
func TestPowerCutLosesUnsynced(t *testing.T) {
	d := newDisk(t, normalDisk)
	content := bytes.Repeat([]byte("acknowledged"), 10_000)
	write := func(name string, sync bool) {
		t.Helper()
		f, err := os.Create(filepath.Join(d.folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	intact := func(name string) bool {
		b, err := os.ReadFile(filepath.Join(d.folder, name))
		return err == nil && bytes.Equal(b, content)
	}
	for i := range 3 {
		for _, name := range []string{"synced", "unsynced", "renamed"} {
			if err := os.RemoveAll(filepath.Join(d.folder, name)); err != nil {
				t.Fatal(err)
			}
		}
		unix.Sync()
		write("synced", true)
		syncFolder(t, d.folder)
		write("unsynced", false)
		write("new", false)
		if err := os.Rename(filepath.Join(d.folder, "new"), filepath.Join(d.folder, "renamed")); err != nil {
			t.Fatal(err)
		}
		d.cut()
		if _, err := os.Create(filepath.Join(d.folder, "late")); err == nil {
			t.Fatal("the disk can be written after the power cut")
		}
		d.remount()
		if !intact("synced") {
			t.Errorf("round %d: a power cut took a file that was synced", i)
		}
		for _, name := range []string{"unsynced", "renamed"} {
			if intact(name) {
				t.Errorf("round %d: a power cut left the file %q, which was never synced: the method proves nothing", i, name)
			}
		}
	}
}

func syncFolder(t *testing.T, path string) {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestPowerCut cuts the power of the server's disk at random moments, and goes
// on with what the disk has kept.
func TestPowerCut(t *testing.T) {
	s := seed(t)
	c := newCrew(t, s)
	d := newDisk(t, normalDisk)
	srv := harness.Start(t, harness.Options{Data: d.data(), Args: serveArgs})
	r := newRand(s, 0)
	for range rounds(8, 60) {
		c.powerCut(d, srv, r)
		if t.Failed() {
			break
		}
		srv.SetArgs(serveArgs...)
		srv.Restart()
	}
	srv.Stop()
	report := check.Folder(t, srv.Data(), check.Options{})
	t.Logf("%s; at the end %s", c, report)
}

// powerCut is a round: work, power cut, and a look at what is left.
func (c *crew) powerCut(d *disk, srv *harness.Server, r *rand.Rand) {
	c.mayFail = true // from the power cut to the kill
	var died time.Time
	c.work(srv.URL(), r, func() {
		c.ledger.failing(time.Now())
		d.cut()
		// The server sees its disk fail for a while.
		time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
		srv.Kill()
		died = time.Now()
	})
	d.remount()
	report, err := check.Run(d.t.Context(), srv.Data(), check.Options{})
	if err != nil {
		c.t.Errorf("checking the data folder: %v", err)
		return
	}
	for _, p := range report.Problems {
		c.t.Errorf("data folder: %s", p)
	}
	if len(report.Problems) > 0 {
		return // such a server may not even start
	}
	srv.SetArgs(quietArgs...)
	srv.Restart()
	c.verify(srv.URL(), died, r)
}
