//go:build unix

package blob

import "golang.org/x/sys/unix"

// Space implements Spacer with what an unprivileged writer may still use.
func (s *FS) Space() (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return 0, 0, err
	}
	block := uint64(st.Bsize)
	return st.Bavail * block, st.Blocks * block, nil
}
