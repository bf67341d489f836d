package attest

import (
	"fmt"
	"net/url"
	"strings"
)

// packageURL names a base image in the way that BuildKit's own provenance
// does, so that one policy reads both: pkg:docker/NAME@TAG with the digest and
// the platform as qualifiers in the order of their names
// (https://github.com/package-url/purl-spec). A host is the first part of the
// name; Docker Hub's own names are short.
func packageURL(b Base) (string, error) {
	name, _, _ := strings.Cut(b.Reference, "@")
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/")
	if name == "" || strings.Trim(name, "/") != name || strings.ContainsAny(name+tag, " \t\r\n?#%\\") {
		return "", fmt.Errorf("this is not an image's name")
	}
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = escape(p)
	}
	uri := "pkg:docker/" + strings.Join(parts, "/")
	if tag != "" {
		uri += "@" + escape(tag)
	}
	uri += "?digest=" + b.Digest.String()
	if b.Platform != "" {
		uri += "&platform=" + escape(b.Platform)
	}
	return uri, nil
}

// escape is percent-encoding as package URLs want it: a colon stays.
func escape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), "%3A", ":")
}
