//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway/internal/auth"
	"slipway/internal/remote"
	"slipway/internal/rest"
)

// tokenVariable holds a personal or robot token, for programs.
const tokenVariable = "SLIPWAY_TOKEN"

// apiFlags name the server that a command asks, and who asks.
type apiFlags struct {
	server, data  string
	login         string
	passwordStdin bool
	lines         *bufio.Reader // of standard input, shared by whoever reads a password from it
}

const apiHelp = `

With --server it asks a server over the network, as whom --login names, or as
the owner of the token in SLIPWAY_TOKEN, or as whom 'slipway login' or 'docker
login' stored for that host. With --data it asks the server that uses that
folder on this machine, or works on the folder by itself while none runs;
whoever may enter the folder needs no login.`

func (f *apiFlags) add(flags *pflag.FlagSet, defaultData string) {
	flags.StringVar(&f.server, "server", os.Getenv("SLIPWAY_SERVER"), "address of the server, such as https://registry.lan:5000 (default $SLIPWAY_SERVER)")
	if data := os.Getenv("SLIPWAY_DATA"); data != "" {
		defaultData = data
	}
	flags.StringVar(&f.data, "data", defaultData, "data folder of the server on this machine (default $SLIPWAY_DATA)")
	flags.StringVar(&f.login, "login", "", "ask as this `USER`, whose password is asked for")
	flags.BoolVar(&f.passwordStdin, "login-password-stdin", false, "read the password of --login from a line of standard input")
}

// endpoint is the API of one server.
type endpoint struct {
	url    string
	name   string // what people call it
	client *http.Client
	own    bool // this process serves it, for as long as the command takes
	known  bool // it was told who asks
}

// withAPI calls fn with the server that the flags name.
func (f *apiFlags) withAPI(cmd *cobra.Command, builds bool, fn func(*endpoint) error) error {
	e, err := f.remote(cmd)
	if err != nil {
		return err
	}
	switch {
	case e != nil:
		return fn(e)
	case f.data != "":
		return withLocalAPI(cmd.Context(), f.data, builds, fn)
	}
	return usageError{errors.New("name the server with --server URL, or its data folder with --data DIR")}
}

// remote is the server that --server names; nil if the data folder is meant.
func (f *apiFlags) remote(cmd *cobra.Command) (*endpoint, error) {
	changed := cmd.Flags().Changed
	switch {
	case changed("server") && changed("data"):
		return nil, usageError{errors.New("--server and --data exclude each other: name the server or its data folder")}
	case f.server == "" || changed("data"):
		if f.login != "" {
			return nil, usageError{errors.New("--login goes with --server: whoever may enter the data folder needs no login")}
		}
		return nil, nil
	}
	base, err := serverURL(f.server)
	if err != nil {
		return nil, usageError{err}
	}
	login, err := f.credentials(cmd, base.Host)
	if err != nil {
		return nil, err
	}
	if login != nil && base.Scheme == "http" && !isLoopbackHost(base.Hostname()) {
		fmt.Fprintf(cmd.ErrOrStderr(), "slipway: warning: the login for %s goes over plain HTTP, where others can read it: use https\n", base.Host)
	}
	transport := &loginTransport{newHostTransport(base.Host, false), base.Host, login}
	return &endpoint{url: strings.TrimSuffix(base.String(), "/"), name: f.server, client: &http.Client{Transport: transport}, known: login != nil}, nil
}

// serverURL reads an address. Without a scheme it is plain HTTP on this machine
// and TLS elsewhere.
func serverURL(s string) (*url.URL, error) {
	full := s
	if !strings.Contains(s, "://") {
		full = "https://" + s
	}
	u, err := url.Parse(full)
	if err == nil && u.User != nil {
		return nil, errors.New("server has a login in its address, where others may see it: use --login, or " + tokenVariable)
	}
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("server is %q: it must be an address such as https://registry.lan:5000", remote.CleanText(s))
	}
	if full != s && isLoopbackHost(u.Hostname()) {
		u.Scheme = "http"
	}
	return u, nil
}

// credentials are who asks; nil if nobody is known.
func (f *apiFlags) credentials(cmd *cobra.Command, host string) (*url.Userinfo, error) {
	if f.login != "" {
		password, err := f.password(cmd, f.passwordStdin, "Password of "+f.login+": ")
		return url.UserPassword(f.login, password), err
	}
	if token := os.Getenv(tokenVariable); token != "" {
		return url.UserPassword("token", token), nil
	}
	registry, err := name.NewRegistry(host, name.Insecure)
	if err != nil {
		return nil, nil // no registry, so nobody has logged in there
	}
	stored, err := authn.Resolve(cmd.Context(), authn.DefaultKeychain, registry)
	if err != nil {
		return nil, fmt.Errorf("read the login for %s: %w", host, err)
	}
	config, err := authn.Authorization(cmd.Context(), stored)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the login for %s: %w", host, err)
	case config.Password == "" && config.IdentityToken != "":
		return nil, fmt.Errorf("what 'docker login' stored for %s is good for images only: run 'slipway login %s', or set %s", host, host, tokenVariable)
	case config.Password == "":
		return nil, nil
	}
	return url.UserPassword(config.Username, config.Password), nil
}

// password reads one from a line of standard input, or asks a person.
func (f *apiFlags) password(cmd *cobra.Command, stdin bool, prompt string) (string, error) {
	if !stdin {
		return askSecret(cmd, prompt)
	}
	if f.lines == nil {
		f.lines = bufio.NewReader(cmd.InOrStdin())
	}
	return readSecret(f.lines)
}

// loginTransport says who asks, to one host only: not to where it redirects.
type loginTransport struct {
	next  http.RoundTripper
	host  string
	login *url.Userinfo
}

func (t *loginTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.login != nil && r.URL.Host == t.host {
		r = r.Clone(r.Context())
		password, _ := t.login.Password()
		r.SetBasicAuth(t.login.Username(), password)
	}
	return t.next.RoundTrip(r)
}

// send makes a request and returns the answer if it is a success. op says what
// was tried, for errors.
func (e *endpoint) send(op string, request func(*rest.Client) (*http.Response, error)) (*http.Response, error) {
	c, err := rest.NewClient(e.url, rest.WithHTTPClient(e.client))
	if err != nil {
		return nil, err
	}
	resp, err := request(c)
	if err != nil {
		return nil, e.unreachable(op, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	return nil, e.refusal(op, resp)
}

// ask is send for an answer in JSON.
func ask[T any](e *endpoint, op string, request func(*rest.Client) (*http.Response, error)) (answer T, err error) {
	resp, err := e.send(op, request)
	if err != nil {
		return answer, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode == http.StatusNoContent {
		return answer, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("%s on %s: its answer cannot be read: is this a Slipway server? %w", op, e.name, err)
	}
	return answer, nil
}

// done is the answer of what answers with nothing.
type done struct{}

func (e *endpoint) unreachable(op string, err error) error {
	u, parseErr := url.Parse(e.url)
	if parseErr != nil {
		return err
	}
	if hint := untrusted(u.Host, err); hint != "" {
		return fmt.Errorf("%s on %s: %s", op, e.name, hint)
	}
	return fmt.Errorf("%s on %s: %w", op, e.name, err)
}

// refusal is the error that an answer tells of.
func (e *endpoint) refusal(op string, resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what came until then has to do
	var p rest.Problem
	isProblem := json.Unmarshal(body, &p) == nil && p.Title != ""
	switch {
	case resp.StatusCode == http.StatusUnauthorized && !e.known:
		u, _ := url.Parse(e.url)
		return fmt.Errorf("%s on %s: it asks for a login: run 'slipway login %s', set %s, or add --login USER", op, e.name, u.Host, tokenVariable)
	case isProblem:
		return fmt.Errorf("%s on %s: %s", op, e.name, remote.CleanText(p.Title))
	case resp.StatusCode == http.StatusUpgradeRequired:
		return fmt.Errorf("%s on %s: %s", op, e.name, remote.CleanText(strings.TrimSpace(string(body))))
	}
	return fmt.Errorf("%s on %s: it answered %s: is this a Slipway server?", op, e.name, resp.Status)
}

// socketClient talks to the server of a data folder on this machine.
func socketClient(data string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(data, controlSocket))
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

// socketEndpoint is the server that uses a data folder on this machine.
func socketEndpoint(data string) *endpoint {
	return &endpoint{url: "http://local", name: data, client: socketClient(data), known: true}
}

// withLocalAPI calls fn with the API of a data folder: of the server that uses
// it or, while none does, of this process, which then is the server of the
// folder for other commands, too. builds says whether its runs are needed.
func withLocalAPI(ctx context.Context, data string, builds bool, fn func(*endpoint) error) (err error) {
	log := slog.New(slog.DiscardHandler)
	if _, err := os.Stat(filepath.Join(data, databaseFile)); err != nil {
		return fmt.Errorf("%s is not a data folder of Slipway: %w", data, err)
	}
	st, err := openStore(ctx, storeSettings{data: data}, log, nil)
	if errors.Is(err, errLocked) {
		return fn(socketEndpoint(data))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close(context.WithoutCancel(ctx))) }()
	config := localConfig(st, log)
	if builds {
		b, err := openBuilder(ctx, st, buildSettings{builders: stringList{"none"}, compression: "gzip", parallel: 1}, nil, nil, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.close()) }()
		config.Builds = &rest.Builds{Engine: b.engine, Checkout: b.checkout, Local: true}
	}
	control, err := listenControl(data)
	if err != nil {
		return err
	}
	own := &http.Server{Handler: rest.New(config)} //nolint:gosec // whoever reaches it may do everything
	go func() { _ = own.Serve(control) }()         // ends with Close
	defer func() { err = errors.Join(err, own.Close()) }()
	e := socketEndpoint(data)
	e.own = true
	return fn(e)
}

// localConfig is the API for whoever may enter the data folder.
func localConfig(st *store, log *slog.Logger) rest.Config {
	return rest.Config{
		DB: st.db, Registry: st.registry, Collector: st.collector, Log: log,
		Authorize: func(*http.Request, auth.Action, string) error { return nil },
		Access: &rest.Access{
			Accounts: st.accounts, Policy: st.policy,
			Caller: func(*http.Request) auth.Identity { return auth.Local },
		},
	}
}
