package trust

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
)

//go:embed install.sh
var install []byte

// Script is a POSIX shell program that makes a machine without slipway trust
// the registry host, as image references name it, if the authority that the
// registry serves has this fingerprint. The same arguments give the same
// bytes, which OneLine relies on: serve it at /trust/install.sh, with the
// request's Host. For a host or a fingerprint that is none, the program only
// says so.
func Script(host, fingerprint string) []byte {
	h, print, err := checked(host, fingerprint)
	if err != nil {
		return []byte("#!/bin/sh\necho 'slipway trust: the server knows no registry of the name that it was asked by: ask by its host and port' >&2\nexit 1\n")
	}
	text := install
	for of, is := range map[string]string{"@HOST@": h.String(), "@URL@": h.url(""), "@FINGERPRINT@": print} {
		text = bytes.ReplaceAll(text, []byte(of), []byte(is))
	}
	return text
}

// OneLine is a command to paste into a shell of a machine without slipway. It
// fetches what Script is over a connection that nobody verified, and runs it
// only if it has the hash that the line holds; the script in turn writes only
// what has the fingerprint that it holds. So it is as good as the way by which
// the line itself came: the server's own terminal. It is empty for a host or a
// fingerprint that is none.
func OneLine(host, fingerprint string) string {
	h, _, err := checked(host, fingerprint)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(Script(h.asked(), fingerprint))
	url := h.url("/trust/install.sh")
	// The script stays in a variable, so that what was hashed is what runs. It
	// ends with one newline, which $() takes away and printf gives back.
	return fmt.Sprintf(`sh -c 's=$(if command -v curl >/dev/null; then curl -gkfsS "%[1]s"; else wget -qO- --no-check-certificate "%[1]s"; fi); `+
		`h=$(printf "%%s\n" "$s" | { sha256sum || shasum -a 256; } 2>/dev/null); `+
		`if [ "${h%%%% *}" = %[2]s ]; then sh -c "$s"; else echo "slipway trust: %[3]s did not send what this line is for; nothing was run" >&2; exit 1; fi'`,
		url, hex.EncodeToString(sum[:]), h)
}

// asked is the registry as an HTTP client puts it into Host, from which the
// server makes the script.
func (h Host) asked() string { return strings.TrimPrefix(h.url(""), "https://") }

func checked(host, fingerprint string) (Host, string, error) {
	h, err := ParseHost(host)
	if err != nil { // a name without a dot needs a port, which clients leave out of Host if it is this
		h, err = ParseHost(host + ":443")
	}
	if err != nil {
		return h, "", err
	}
	if h.port == "443" && strings.ContainsAny(h.name, ".:") {
		h.port = "" // as clients ask, who cannot say which of the two they were given
	}
	print, err := ParseFingerprint(fingerprint)
	return h, print, err
}
