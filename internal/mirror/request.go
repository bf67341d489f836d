package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"slipway/internal/oci"
)

// do asks the upstream once, with a login if it wants one. The response has
// status 200 or 206, and its body is guarded against silence. Errors are
// *oci.Error that say what is wrong with which upstream.
func (u *upstream) do(ctx context.Context, method, path, rest string, header http.Header, stall time.Duration) (*http.Response, error) {
	if err := u.backoff.check(u.Name); err != nil {
		return nil, err
	}
	target := *u.url
	target.Path = "/v2/" + path + rest
	resp, err := u.send(ctx, method, &target, header, u.tokens.get(path), stall)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		challenges := resp.Header.Values("WWW-Authenticate")
		discard(resp)
		var authorization string
		if authorization, err = u.login(ctx, path, challenges, stall); err == nil {
			resp, err = u.send(ctx, method, &target, header, authorization, stall)
		}
	}
	var told *oci.Error
	if errors.As(err, &told) {
		return nil, err
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err() // this registry stops
		}
		u.backoff.failed()
		return nil, oci.NewError(oci.CodeUpstreamDown, fmt.Sprintf("upstream %s cannot be reached: %s", u.Name, reason(err))).WithCause(err)
	}
	if err := u.judge(resp, path); err != nil {
		discard(resp)
		return nil, err
	}
	u.backoff.succeeded()
	return resp, nil
}

// judge turns a response that is no success into an error.
func (u *upstream) judge(resp *http.Response, path string) error {
	switch status := resp.StatusCode; {
	case status == http.StatusOK, status == http.StatusPartialContent:
		return nil
	case status == http.StatusNotFound:
		return oci.NewError(oci.CodeManifestUnknown, fmt.Sprintf("upstream %s has nothing of that name in %s", u.Name, path))
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		hint := "it does not exist, or needs a login: the administrator can set username and password of this upstream in mirror.upstreams"
		if u.Username != "" {
			hint = "it does not exist, or user " + u.Username + " may not pull it"
		}
		return oci.NewError(oci.CodeNameUnknown, fmt.Sprintf("upstream %s does not show %s to this registry: %s", u.Name, path, hint))
	case status == http.StatusTooManyRequests:
		u.backoff.hold(retryAfter(resp, u.backoff.now(), time.Minute))
		return u.backoff.check(u.Name)
	case status >= 500:
		if resp.Header.Get("Retry-After") != "" {
			u.backoff.hold(retryAfter(resp, u.backoff.now(), time.Minute))
		}
		u.backoff.failed()
		return oci.NewError(oci.CodeUpstreamDown, fmt.Sprintf("upstream %s answers with status %d: try again later", u.Name, status))
	default:
		return oci.NewError(oci.CodeBadUpstream, fmt.Sprintf("upstream %s answers with status %d, which no registry should", u.Name, status))
	}
}

var errStall = errors.New("it is silent")

// send makes one request, which may be redirected.
func (u *upstream) send(ctx context.Context, method string, target *url.URL, header http.Header, authorization string, stall time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "slipway")
	// Compression would hide the size, and layers are compressed already.
	req.Header.Set("Accept-Encoding", "identity")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	watch := time.AfterFunc(stall, func() { cancel(errStall) })
	resp, err := u.client.Do(req)
	if err != nil {
		watch.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errStall) {
			err = fmt.Errorf("%w for %s", errStall, stall)
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &guarded{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, watch: watch, stall: stall}
	watch.Reset(stall)
	return resp, nil
}

// guarded is a body that ends with errStall when less than minProgress comes
// within the longest silence: a byte now and then is silence too.
type guarded struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
	waited time.Duration // since there was progress
	got    int           // meanwhile
}

const minProgress = 16 << 10

func (g *guarded) Read(p []byte) (int, error) {
	g.watch.Reset(max(g.stall-g.waited, 0))
	began := time.Now()
	n, err := g.ReadCloser.Read(p)
	g.watch.Stop() // what the reader does with it takes its own time
	g.waited += time.Since(began)
	if g.got += n; g.got >= minProgress {
		g.waited, g.got = 0, 0
	}
	if err != nil && errors.Is(context.Cause(g.ctx), errStall) {
		err = fmt.Errorf("%w for %s", errStall, g.stall)
	}
	return n, err
}

func (g *guarded) Close() error {
	g.watch.Stop()
	g.cancel(nil)
	return g.ReadCloser.Close()
}

// discard reads what little an error has, so that the connection is kept.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 16<<10)
	_ = resp.Body.Close()
}

// reason is what went wrong, without the address that every error of net/http
// begins with.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	s := err.Error()
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
