package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"slipway/internal/auth"
	"slipway/internal/oci"
)

// Route is one row of the table.
type route struct {
	method  string
	pattern string // {name} is a repository, which has slashes; {last} one part
	action  auth.Action
	serve   func(*Handler, *call) error
}

var routes = []route{
	{"GET", "/v2/", auth.Ping, (*Handler).ping},
	{"GET", "/v2/_catalog", auth.List, (*Handler).catalog},
	{"GET", "/v2/{name}/tags/list", auth.Pull, (*Handler).tags},
	{"GET", "/v2/{name}/referrers/{last}", auth.Pull, (*Handler).referrers},

	{"GET", "/v2/{name}/manifests/{last}", auth.Pull, (*Handler).getManifest},
	{"HEAD", "/v2/{name}/manifests/{last}", auth.Pull, (*Handler).headManifest},
	{"PUT", "/v2/{name}/manifests/{last}", auth.Push, (*Handler).putManifest},
	{"DELETE", "/v2/{name}/manifests/{last}", auth.Delete, (*Handler).deleteManifest},

	{"POST", "/v2/{name}/blobs/uploads/", auth.Push, (*Handler).postUpload},
	{"GET", "/v2/{name}/blobs/uploads/{last}", auth.Push, (*Handler).getUpload},
	{"PATCH", "/v2/{name}/blobs/uploads/{last}", auth.Push, (*Handler).patchUpload},
	{"PUT", "/v2/{name}/blobs/uploads/{last}", auth.Push, (*Handler).putUpload},
	{"DELETE", "/v2/{name}/blobs/uploads/{last}", auth.Push, (*Handler).deleteUpload},

	{"GET", "/v2/{name}/blobs/{last}", auth.Pull, (*Handler).getBlob},
	{"HEAD", "/v2/{name}/blobs/{last}", auth.Pull, (*Handler).headBlob},
	{"DELETE", "/v2/{name}/blobs/{last}", auth.Delete, (*Handler).deleteBlob},
}

// Route describes a row of the table to tests and documentation.
type Route struct {
	Method, Pattern string
	Action          auth.Action
}

// Routes lists the table.
func Routes() []Route {
	list := make([]Route, len(routes))
	for i, rt := range routes {
		list[i] = Route{rt.method, rt.pattern, rt.action}
	}
	return list
}

// match finds the row for a request and fills in the parts of its path.
func match(c *call) (*route, error) {
	path := c.URL.Path
	if path == "/v2" {
		path = "/v2/"
	}
	if c.Method == http.MethodPost && strings.HasSuffix(path, "/blobs/uploads") {
		path += "/"
	}
	var allowed []string
	for i := range routes {
		rt := &routes[i]
		repository, last, ok := rt.matchPath(path)
		if !ok {
			continue
		}
		if rt.method == c.Method || (c.Method == http.MethodHead && rt.method == http.MethodGet && !hasHead(rt.pattern)) {
			c.repository, c.last = repository, last
			return rt, nil
		}
		if !slices.Contains(allowed, rt.method) {
			allowed = append(allowed, rt.method)
		}
	}
	if allowed != nil {
		c.Header().Set("Allow", strings.Join(allowed, ", "))
		return nil, oci.NewError(oci.CodeUnsupported, fmt.Sprintf("%s is not possible here; this address takes %s", c.Method, strings.Join(allowed, ", ")))
	}
	return nil, oci.NewError(oci.CodeNameUnknown, "there is nothing at this address: the registry API has /v2/_catalog and, below /v2/<repository>/, manifests, blobs, tags/list and referrers")
}

func hasHead(pattern string) bool {
	return slices.ContainsFunc(routes, func(rt route) bool { return rt.pattern == pattern && rt.method == http.MethodHead })
}

// matchPath compares from the end, since a repository has any number of parts.
func (rt *route) matchPath(path string) (repository, last string, ok bool) {
	prefix, suffix, named := strings.Cut(rt.pattern, "{name}")
	if !named {
		return "", "", path == rt.pattern
	}
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok {
		return "", "", false
	}
	if fixed, has := strings.CutSuffix(suffix, "{last}"); has {
		i := strings.LastIndexByte(rest, '/')
		if i < 0 || i == len(rest)-1 {
			return "", "", false
		}
		last, rest, suffix = rest[i+1:], rest[:i+1], fixed
	}
	repository, ok = strings.CutSuffix(rest, suffix)
	return repository, last, ok && repository != ""
}

// Header is the response's: the request's is call.Request.Header.
func (c *call) Header() http.Header { return c.ResponseWriter.Header() }
