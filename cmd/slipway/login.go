package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

// loginFlags are the flags of slipway login.
type loginFlags struct {
	username            string
	passwordStdin       bool
	plainHTTP, insecure bool
}

func newLoginCommand() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use:   "login HOST[:PORT]",
		Short: "Check a user name and password at a registry, and store them where Docker does",
		Long: `Ask for a user name and a password, check them at a registry as 'docker login'
does, and store them in Docker's configuration: through its credential helper if
there is one, else in config.json, readable by you only and not encrypted.
Docker, Podman, Buildah, Skopeo and these commands find them there. It works
with any registry.

A token is better than a password: 'slipway token create' makes one, and its
owner's name, or the name token, goes with it. Plain HTTP is tried by itself
only on this machine's own addresses.`,
		Example: `  slipway login registry.lan:5000
  slipway login registry.lan:5000 --username anna --password-stdin < password`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.username, "username", "u", "", "log in as `USER` (default: it is asked for)")
	flags.BoolVar(&f.passwordStdin, "password-stdin", false, "read the password from a line of standard input")
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "also try HTTP without TLS, where others can read the password")
	flags.BoolVar(&f.insecure, "insecure", false, "accept any TLS certificate, also of who pretends to be the registry")
	return cmd
}

func newLogoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "logout HOST[:PORT]",
		Short:   "Remove what 'slipway login' or 'docker login' stored",
		Example: `  slipway logout registry.lan:5000`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			registry, err := loginHost(args[0], false)
			if err != nil {
				return err
			}
			file, err := dockerConfig()
			if err != nil {
				return err
			}
			key := storeKey(registry)
			store := file.GetCredentialsStore(key)
			if stored, err := store.Get(key); err == nil && stored.Username == "" && stored.IdentityToken == "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "No login for %s is stored in %s.\n", args[0], storePlace(file, key))
				return nil
			}
			if err := store.Erase(key); err != nil {
				return fmt.Errorf("log out of %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "The login for %s is removed from %s.\n", args[0], storePlace(file, key))
			return nil
		},
	}
}

func (f *loginFlags) run(cmd *cobra.Command, host string) error {
	registry, err := loginHost(host, f.plainHTTP)
	if err != nil {
		return err
	}
	file, err := dockerConfig() // before anybody types anything
	if err != nil {
		return err
	}
	who, err := f.ask(cmd, host)
	if err != nil {
		return err
	}
	if err := f.check(cmd.Context(), registry, who); err != nil {
		return err
	}
	key := storeKey(registry)
	if err := file.GetCredentialsStore(key).Store(types.AuthConfig{Username: who.Username, Password: who.Password, ServerAddress: key}); err != nil {
		return fmt.Errorf("%s accepts the login, but it cannot be stored in %s: %w", host, storePlace(file, key), err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Logged in to %s as %s; stored in %s.\n", host, who.Username, storePlace(file, key))
	return nil
}

// loginHost reads the name of a registry.
func loginHost(host string, plainHTTP bool) (name.Registry, error) {
	trimmed := strings.TrimSuffix(strings.TrimPrefix(host, "https://"), "/")
	options := []name.Option{name.StrictValidation}
	if plainHTTP || isLoopbackHost(bareHost(trimmed)) {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(trimmed, options...)
	if err != nil || strings.Contains(trimmed, "/") {
		return registry, usageError{fmt.Errorf("%q is not a registry, which looks like HOST or HOST:PORT", remote.CleanText(host))}
	}
	return registry, nil
}

// bareHost is a host without its port.
func bareHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

// ask finds out who logs in.
func (f *loginFlags) ask(cmd *cobra.Command, host string) (who types.AuthConfig, err error) {
	who.Username = f.username
	if f.passwordStdin {
		if f.username == "" {
			return who, usageError{errors.New("--password-stdin needs --username USER")}
		}
		who.Password, err = readSecret(bufio.NewReader(cmd.InOrStdin()))
		return who, err
	}
	if !isatty.IsTerminal(os.Stdin.Fd()) {
		return who, usageError{errors.New("nobody is there to type a password: use --username USER --password-stdin")}
	}
	if who.Username == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "User name at %s: ", host)
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil {
			return who, fmt.Errorf("read the user name: %w", err)
		}
		if who.Username = strings.TrimSpace(line); who.Username == "" {
			return who, usageError{errors.New("the user name is empty")}
		}
	}
	who.Password, err = askSecret(cmd, "Password, or a token: ")
	return who, err
}

// check logs in with the registry's own challenge: by basic authentication, or
// by getting a token, and then asks for the version of the API as that user.
func (f *loginFlags) check(ctx context.Context, registry name.Registry, who types.AuthConfig) error {
	host := registry.RegistryStr()
	base := &noPlainHTTP{newHostTransport(host, f.insecure), f.plainHTTP}
	fail := func(err error) error {
		var refused *transport.Error
		if hint := untrusted(host, err); hint != "" {
			return fmt.Errorf("log in to %s: %s", host, hint)
		}
		if errors.As(err, &refused) && refused.StatusCode == http.StatusUnauthorized {
			return fmt.Errorf("log in to %s: the user name or the password is wrong; nothing was stored", host)
		}
		return fmt.Errorf("log in to %s: %s; nothing was stored", host, remote.CleanText(err.Error()))
	}
	signed, err := transport.NewWithContext(ctx, registry, &authn.Basic{Username: who.Username, Password: who.Password}, base, nil)
	if err != nil {
		return fail(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, registry.Scheme()+"://"+host+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: signed}).Do(req)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return fail(err)
	}
	return nil
}

// noPlainHTTP keeps a password from going over plain HTTP, which the library
// would try by itself for private addresses.
type noPlainHTTP struct {
	next    http.RoundTripper
	allowed bool
}

func (t *noPlainHTTP) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !t.allowed && !isLoopbackHost(r.URL.Hostname()) {
		return nil, fmt.Errorf("%s would get the password over plain HTTP: serve TLS there, or add --plain-http", r.URL.Host)
	}
	return t.next.RoundTrip(r)
}

// dockerConfig reads Docker's configuration, and chooses a credential helper
// for a new one as Docker does.
func dockerConfig() (*configfile.ConfigFile, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("find Docker's configuration: %w", err)
		}
		dir = filepath.Join(home, ".docker")
	}
	file, err := config.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("the configuration of Docker cannot be read, and is left as it is: %w", err)
	}
	if !file.ContainsAuth() {
		file.CredentialsStore = credentials.DetectDefaultStore(file.CredentialsStore)
	}
	return file, nil
}

// storeKey is the name under which Docker keeps a registry's login.
func storeKey(registry name.Registry) string {
	if registry.RegistryStr() == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return registry.RegistryStr()
}

func storePlace(file *configfile.ConfigFile, key string) string {
	helper, ok := file.CredentialHelpers[key]
	if !ok {
		helper = file.CredentialsStore
	}
	if helper != "" {
		return "the credential helper docker-credential-" + helper
	}
	return file.GetFilename()
}
