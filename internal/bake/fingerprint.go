package bake

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Fingerprint tells whether a Project is still what Read would answer: it is a
// digest of the request and of the files that the answer was made from, which
// Project.Read lists. It is "" when that list is empty, which is when not all
// of them could be told. Who keeps a Project by it calls Check before use:
// links and folders may have changed.
func Fingerprint(req Request, read []string) (string, error) {
	if len(read) == 0 {
		return "", nil
	}
	checkout, err := os.OpenRoot(req.Dir)
	if err != nil {
		return "", fmt.Errorf("read the project %s: %w", req.Dir, err)
	}
	defer checkout.Close()
	h := sha256.New()
	fmt.Fprintf(h, "slipway-project-1\n%q\n%q\n%q\n%q\n", req.Files, req.Targets, req.Set, fmt.Sprint(req.Vars)) // Sprint sorts maps
	for _, name := range read {
		content, err := readRegular(checkout, name, MaxFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(h, "%q absent\n", name)
		case err != nil:
			return "", nil //nolint:nilerr // whatever it is now, it is to be read anew
		default:
			fmt.Fprintf(h, "%q %x\n", name, sha256.Sum256(content))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
