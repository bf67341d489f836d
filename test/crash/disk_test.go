//go:build linux

package crash

import (
	"errors"
	"fmt"
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
	pool    string // where the image is, if that is a file system of its own
	image   string // the file that backs the device
	folder  string // where it is mounted
	mounted bool
}

// newDisk makes and mounts a disk. The test ends through harness.Missing where
// the machine cannot.
func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	return makeDisk(t, size, 0)
}

// newThinDisk is a disk that promises size bytes, of which its pool has only
// so many: when those are used up, writes to the device fail with EIO.
func newThinDisk(t *testing.T, size, pool int64) *disk {
	t.Helper()
	return makeDisk(t, size, pool)
}

func makeDisk(t *testing.T, size, pool int64) *disk {
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
		if d.pool != "" {
			_ = unix.Unmount(d.pool, unix.MNT_DETACH)
		}
		if err := os.RemoveAll(base); err != nil {
			t.Logf("left behind: %v", err)
		}
	})
	if err := os.Mkdir(d.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if pool > 0 {
		d.pool = filepath.Join(base, "pool")
		if err := errors.Join(os.Mkdir(d.pool, 0o755), unix.Mount("pool", d.pool, "tmpfs", 0, fmt.Sprintf("size=%d", pool))); err != nil {
			t.Fatal(err)
		}
		d.image = filepath.Join(d.pool, "image")
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
	out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,errors=remount-ro", d.image, d.folder).CombinedOutput()
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

// grow gives the pool of a thin disk more room.
func (d *disk) grow(pool int64) {
	d.t.Helper()
	if err := unix.Mount("pool", d.pool, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", pool)); err != nil {
		d.t.Fatal(err)
	}
}

// readOnly makes the kernel mount the disk read-only under its users, as it
// does when it finds the file system damaged. (A plain remount is refused while
// files are open for writing.) Only remount ends it.
func (d *disk) readOnly() {
	d.t.Helper()
	out := harness.Run(d.t, system(d.t, "findmnt"), "-n", "-o", "SOURCE", d.folder)
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(out), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
		harness.Missing(d.t, "a kernel in which errors of a file system can be caused: %v", err)
	}
	if err := os.WriteFile(filepath.Join(d.folder, "late"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		d.t.Fatalf("writing to the disk gives %v, want EROFS", err)
	}
}

// fill takes all space of the disk that is left, and returns what gives it back.
func (d *disk) fill() (free func()) {
	d.t.Helper()
	path := filepath.Join(d.folder, "ballast")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = error(nil); err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			d.t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			d.t.Error(err)
		}
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
