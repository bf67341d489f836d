//go:build linux

package daemon

// ID is what names on the host are made of.
func ID(root string) string { return id(root) }
