//go:build !unix

package edge

// fileLimit is how many files this process may open.
func fileLimit() int { return 1 << 30 }
