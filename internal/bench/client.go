package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// client speaks the few requests that the workloads need, and checks each
// answer. It is safe for concurrent use.
type client struct {
	base *url.URL // scheme and host of the registry
	http *http.Client
	pool *http.Transport
}

// newClient reaches the registry once, to learn whether it asks for a login.
func newClient(ctx context.Context, cfg Config) (*client, error) {
	base, err := registryURL(cfg.URL, cfg.PlainHTTP)
	if err != nil {
		return nil, err
	}
	pool := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: cfg.Insecure},
		MaxIdleConns:          2 * cfg.Concurrency,
		MaxIdleConnsPerHost:   2 * cfg.Concurrency,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		DisableCompression:    true,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}
	c := &client{base: base, pool: pool, http: &http.Client{Transport: pool}}
	return c, c.login(ctx, cfg)
}

// registryURL reduces what a person writes for a registry to scheme and host.
func registryURL(s string, plainHTTP bool) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		scheme := "https"
		if host, _, _ := strings.Cut(s, "/"); plainHTTP || isLoopback(host) {
			scheme = "http"
		}
		s = scheme + "://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%w: the registry's address %q is not a URL: %w", ErrInvalid, s, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%w: the registry's address %q is not http://HOST or https://HOST", ErrInvalid, s)
	}
	if path := strings.Trim(u.Path, "/"); path != "" && path != "v2" {
		return nil, fmt.Errorf("%w: the registry's address %q has the path %q: give only the host, and the path as the repository", ErrInvalid, s, path)
	}
	if plainHTTP {
		u.Scheme = "http"
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *client) login(ctx context.Context, cfg Config) error {
	resp, err := c.send(ctx, http.MethodGet, c.base.String()+"/v2/", nil, nil)
	if err != nil {
		return fmt.Errorf("reach the registry: %w", err)
	}
	drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
	default:
		return fmt.Errorf("%s does not answer like a registry: GET /v2/ gave status %d", c.base, resp.StatusCode)
	}
	if cfg.Keychain == nil {
		return fmt.Errorf("%s asks for a login; run 'docker login %s'", c.base, c.base.Host)
	}
	var opts []name.Option
	if c.base.Scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(c.base.Host, opts...)
	if err != nil {
		return fmt.Errorf("the registry's address: %w", err)
	}
	auth, err := authn.Resolve(ctx, cfg.Keychain, reg)
	if err != nil {
		return fmt.Errorf("credentials for %s: %w", c.base.Host, err)
	}
	rt, err := transport.NewWithContext(ctx, reg, auth, c.pool, nil)
	if err != nil {
		return fmt.Errorf("log in to %s: %w", c.base.Host, err)
	}
	c.http.Transport = rt
	return nil
}

// content is a request body that can be sent again on a fresh connection.
type content struct {
	mediaType string
	size      int64
	open      func() io.ReadCloser
}

func bytesContent(mediaType string, b []byte) *content {
	return &content{mediaType, int64(len(b)), func() io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }}
}

const octetStream = "application/octet-stream"

func (c *client) send(ctx context.Context, method, target string, body *content, accept []string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Body = body.open()
		req.GetBody = func() (io.ReadCloser, error) { return body.open(), nil }
		req.ContentLength = body.size
		req.Header["Content-Type"] = []string{body.mediaType}
	}
	if accept != nil {
		req.Header["Accept"] = accept
	}
	return c.http.Do(req)
}

func (c *client) url(path ...string) string {
	return c.base.Scheme + "://" + c.base.Host + "/v2/" + strings.Join(path, "")
}

// pushBlob sends a blob as containerd does: POST, then everything in one PUT.
func (c *client) pushBlob(ctx context.Context, repo, digest string, body *content) error {
	resp, err := c.send(ctx, http.MethodPost, c.url(repo, "/blobs/uploads/"), nil, nil)
	if err != nil {
		return err
	}
	if err := expect(resp, http.StatusAccepted); err != nil {
		return err
	}
	drain(resp)
	loc, err := resp.Location()
	if err != nil {
		return fmt.Errorf("POST %s: no upload location: %w", resp.Request.URL.Path, err)
	}
	if loc.RawQuery != "" {
		loc.RawQuery += "&"
	}
	loc.RawQuery += "digest=" + url.QueryEscape(digest)
	resp, err = c.send(ctx, http.MethodPut, loc.String(), body, nil)
	if err != nil {
		return err
	}
	if err := expect(resp, http.StatusCreated); err != nil {
		return err
	}
	defer drain(resp)
	return sameDigest(resp, digest)
}

func (c *client) putManifest(ctx context.Context, repo, reference string, img *image) error {
	resp, err := c.send(ctx, http.MethodPut, c.url(repo, "/manifests/", reference), bytesContent(mediaTypeManifest, img.manifest), nil)
	if err != nil {
		return err
	}
	if err := expect(resp, http.StatusCreated); err != nil {
		return err
	}
	defer drain(resp)
	return sameDigest(resp, img.manifestDigest)
}

// pushImage sends layer, config and manifest, in that order.
func (c *client) pushImage(ctx context.Context, repo, tag string, img *image) error {
	if err := c.pushBlob(ctx, repo, img.layer.digest, &content{octetStream, img.layer.size(), img.layer.open}); err != nil {
		return err
	}
	if err := c.pushBlob(ctx, repo, img.configDigest, bytesContent(octetStream, img.config)); err != nil {
		return err
	}
	return c.putManifest(ctx, repo, tag, img)
}

// pullBlob compares a blob with the layer it must be.
func (c *client) pullBlob(ctx context.Context, repo string, l *layer, buf []byte) (int64, error) {
	resp, err := c.send(ctx, http.MethodGet, c.url(repo, "/blobs/", l.digest), nil, nil)
	if err != nil {
		return 0, err
	}
	if err := expect(resp, http.StatusOK); err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.ContentLength >= 0 && resp.ContentLength != l.size() {
		return 0, fmt.Errorf("blob %s: Content-Length %d, want %d", l.digest, resp.ContentLength, l.size())
	}
	if err := sameDigest(resp, l.digest); err != nil {
		return 0, err
	}
	return l.verify(resp.Body, buf)
}

func (c *client) pullManifest(ctx context.Context, repo, reference string, img *image, buf []byte) (int64, error) {
	body, resp, err := c.get(ctx, c.url(repo, "/manifests/", reference), acceptManifest, buf)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(body, img.manifest) {
		return 0, fmt.Errorf("manifest %s:%s: not the bytes that were pushed", repo, reference)
	}
	if got := resp.Header.Get("Content-Type"); got != mediaTypeManifest {
		return 0, fmt.Errorf("manifest %s:%s: Content-Type %q, want %q", repo, reference, got, mediaTypeManifest)
	}
	return int64(len(body)), sameDigest(resp, img.manifestDigest)
}

var acceptManifest = []string{mediaTypeManifest}

// pullImage reads all of an image back and compares it.
func (c *client) pullImage(ctx context.Context, repo, tag string, img *image, buf []byte) error {
	if _, err := c.pullManifest(ctx, repo, tag, img, buf); err != nil {
		return err
	}
	config, _, err := c.get(ctx, c.url(repo, "/blobs/", img.configDigest), nil, buf)
	if err != nil {
		return err
	}
	if !bytes.Equal(config, img.config) {
		return fmt.Errorf("blob %s: not the bytes that were pushed", img.configDigest)
	}
	_, err = c.pullBlob(ctx, repo, img.layer, buf)
	return err
}

func (c *client) deleteManifest(ctx context.Context, repo, reference string) error {
	resp, err := c.send(ctx, http.MethodDelete, c.url(repo, "/manifests/", reference), nil, nil)
	if err != nil {
		return err
	}
	if err := expect(resp, http.StatusAccepted); err != nil {
		return err
	}
	drain(resp)
	return nil
}

// get reads a whole answer of status 200, into buf when it fits.
func (c *client) get(ctx context.Context, target string, accept []string, buf []byte) ([]byte, *http.Response, error) {
	resp, err := c.send(ctx, http.MethodGet, target, nil, accept)
	if err != nil {
		return nil, nil, err
	}
	if err := expect(resp, http.StatusOK); err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	n, err := io.ReadFull(resp.Body, buf)
	body := buf[:n]
	switch {
	case err == nil: // buf is full: take the rest elsewhere
		var rest []byte
		rest, err = io.ReadAll(resp.Body)
		body = append(bytes.Clone(body), rest...)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && (resp.ContentLength < 0 || resp.ContentLength == int64(n)):
		err = nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("GET %s: read the answer: %w", target, err)
	}
	return body, resp, nil
}

// expect turns any other status into an error that carries the answer's start.
func expect(resp *http.Response, status int) error {
	if resp.StatusCode == status {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	drain(resp)
	return fmt.Errorf("%s %s: status %d, want %d: %s", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, status, strings.TrimSpace(string(text)))
}

// sameDigest checks Docker-Content-Digest, which a registry may leave out.
func sameDigest(resp *http.Response, digest string) error {
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != digest {
		return fmt.Errorf("%s %s: Docker-Content-Digest %s, want %s", resp.Request.Method, resp.Request.URL.Path, got, digest)
	}
	return nil
}

// drain lets the connection be used again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	resp.Body.Close()
}
