package shim

import "strings"

// A marker is a host name that cannot exist, so that a program which sees it in
// NO_PROXY is not affected by it.
const markerPrefix, markerSuffix = "slipway-run-", ".invalid"

// RunFile is the Run in the folder of a run, which is named by its token.
const RunFile = "run.json"

// Marker is the entry of NO_PROXY that says for which run a step works.
func Marker(token string) string { return markerPrefix + token + markerSuffix }

// ValidToken tells whether a token is one or more letters, digits and hyphens, at
// most 64: it becomes the name of a folder.
func ValidToken(token string) bool {
	return token != "" && len(token) <= 64 && strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}
