//go:build linux

package crash

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/test/harness"
)

// disk is an ext4 file system on a loop device, mounted in a folder.
//
// cut is a power cut, by the kernel's own means of testing file systems for it
// (FS_IOC_SHUTDOWN without flushing the log, which xfstests uses): from one
// moment on nothing more goes to the device, neither pages nor the journal,
// and every access fails. What was written but not synced, and has not
// happened to be written back, is gone when the file system is mounted again
// and its journal replayed. The moment is atomic, unlike that of a copy of the
// device, and nothing is flushed, unlike with fsfreeze.
//
// What it does not show: a drive that acknowledges writes into a cache of its
// own, and loses them unless it was told to flush. ext4 sends that flush with
// each fsync, so this would test ext4. And an fsync of one file in ext4 often
// makes others durable with it, so that a forgotten fsync may pass.
// TestPowerCutLosesUnsynced proves that the method loses what it should.
type disk struct {
	t       *testing.T
	image   string // the file that backs the device
	folder  string // where it is mounted
	mounted bool
}

// newDisk makes and mounts a disk. The test ends through harness.Missing where
// the machine cannot.
func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	harness.Isolated(t)
	base, err := os.MkdirTemp("", "slipway-disk-")
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{t: t, image: filepath.Join(base, "image"), folder: filepath.Join(base, "m")}
	t.Cleanup(func() {
		if d.mounted {
			d.unmount()
		}
		if err := os.RemoveAll(base); err != nil {
			t.Logf("left behind: %v", err)
		}
	})
	if err := os.Mkdir(d.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	harness.Run(t, system(t, "mkfs.ext4"), "-q", "-F", "-m", "0", d.image)
	if out, err := d.tryMount(); err != nil {
		harness.Missing(t, "loop devices: %v: %s", err, out)
	}
	return d
}

// system finds a program that may only be on root's path.
func system(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if path := filepath.Join(dir, name); unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return harness.Tool(t, name)
}

// tryMount mounts the image. The loop device goes with the mount.
func (d *disk) tryMount() ([]byte, error) {
	out, err := exec.Command("mount", "-t", "ext4", "-o", "loop", d.image, d.folder).CombinedOutput()
	d.mounted = err == nil
	return out, err
}

func (d *disk) mount() {
	d.t.Helper()
	if out, err := d.tryMount(); err != nil {
		d.t.Fatalf("mounting: %v: %s", err, out)
	}
}

func (d *disk) unmount() {
	d.t.Helper()
	d.mounted = false
	if err := unix.Unmount(d.folder, 0); err != nil {
		d.t.Errorf("unmounting: %v", err)
		_ = unix.Unmount(d.folder, unix.MNT_DETACH) // the most that is left to try
	}
}

// data is a data folder on the disk.
func (d *disk) data() string { return filepath.Join(d.folder, "data") }

const (
	shutdown           = 0x8004587d // FS_IOC_SHUTDOWN
	shutdownNoLogFlush = 2
)

// cut cuts the power. The disk stays mounted, and fails, until remount.
func (d *disk) cut() {
	d.t.Helper()
	dir, err := os.Open(d.folder)
	if err != nil {
		d.t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, shutdownNoLogFlush); err != nil {
		harness.Missing(d.t, "a kernel that can shut down a file system: %v", err)
	}
}

// remount is the power coming back.
func (d *disk) remount() {
	d.t.Helper()
	d.unmount()
	d.mount()
}

// size of the smallest disks that tests use, and of others.
const (
	smallDisk  = 96 << 20
	normalDisk = 512 << 20
)
