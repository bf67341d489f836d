package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
)

// ErrUnavailable is what [Check], [Start] and [Daemon.Client] return, with a list
// of what is missing, where this machine cannot build.
var ErrUnavailable = errors.New("this machine cannot build images")

// Config says how buildkitd runs. Only Root is required.
type Config struct {
	Root string       // folder of its state; nothing else may use it
	Log  *slog.Logger // buildkitd's own log is at debug, its warnings and errors at warn; default: none

	Binary  string // buildkitd; default: beside the running program, else in PATH
	Shim    string // slipway-runc; default: likewise
	Runtime string // the OCI runtime; default: runc in PATH
	CNIDir  string // folder of the CNI plugins; default: /usr/lib/cni, else /opt/cni/bin

	// Limits for all builds together.
	CPUs      float64 // processors; default: all, at a low weight
	Memory    int64   // bytes; default: three quarters of the machine's
	Processes int64   // default: 8192

	// Budget of the build cache on disk, in bytes.
	MaxUsed  int64 // what it never exceeds for long; default: a fifth of the disk, at most 50 GB
	Reserved int64 // what is kept even when the disk is short; default: a tenth of MaxUsed
	MinFree  int64 // what is left free of the disk; default: a tenth of it, at most 20 GB

	Proxy   ProxyEnv // for buildkitd's own downloads
	CAFiles []string // PEM files: further certificates for buildkitd and RUN steps; default: none

	// Subnet is an IPv4 prefix of 24 bits or shorter for RUN steps; default: one in
	// 10.0.0.0/8 or 172.16.0.0/12 that this machine has no route to.
	Subnet netip.Prefix
}

// ProxyEnv are the proxy variables, named without regard to case.
type ProxyEnv struct {
	HTTP, HTTPS, FTP, All, No string
}

// Environ returns the variables, in both spellings, as programs differ.
func (p ProxyEnv) Environ() []string {
	var env []string
	for _, v := range [][3]string{
		{"HTTP_PROXY", "http_proxy", p.HTTP},
		{"HTTPS_PROXY", "https_proxy", p.HTTPS},
		{"FTP_PROXY", "ftp_proxy", p.FTP},
		{"ALL_PROXY", "all_proxy", p.All},
		{"NO_PROXY", "no_proxy", p.No},
	} {
		if v[2] != "" {
			env = append(env, v[0]+"="+v[2], v[1]+"="+v[2])
		}
	}
	return env
}

// BuildArgs returns the proxy variables as BuildKit's predefined build arguments.
func (p ProxyEnv) BuildArgs() map[string]string {
	args := map[string]string{}
	for name, value := range map[string]string{
		"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS, "FTP_PROXY": p.FTP, "ALL_PROXY": p.All, "NO_PROXY": p.No,
	} {
		if value != "" {
			args[name] = value
		}
	}
	return args
}

// ProxyFromEnvironment returns the proxies of this process's environment.
func ProxyFromEnvironment() ProxyEnv {
	get := func(upper, lower string) string {
		if v := os.Getenv(lower); v != "" {
			return v
		}
		return os.Getenv(upper)
	}
	return ProxyEnv{
		HTTP:  get("HTTP_PROXY", "http_proxy"),
		HTTPS: get("HTTPS_PROXY", "https_proxy"),
		FTP:   get("FTP_PROXY", "ftp_proxy"),
		All:   get("ALL_PROXY", "all_proxy"),
		No:    get("NO_PROXY", "no_proxy"),
	}
}

// withDefaults fills what the caller left out, as far as this machine has it.
func (c Config) withDefaults() (Config, error) {
	if c.Root == "" {
		return c, errors.New("buildkitd: no folder for its state")
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return c, fmt.Errorf("buildkitd: its folder: %w", err)
	}
	c.Root = root
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Binary == "" {
		c.Binary = program("buildkitd")
	}
	if c.Shim == "" {
		c.Shim = program("slipway-runc")
	}
	if c.Runtime == "" {
		c.Runtime = program("runc")
	}
	if c.CNIDir == "" {
		c.CNIDir = "/usr/lib/cni"
		if _, err := os.Stat(c.CNIDir); err != nil {
			if _, err := os.Stat("/opt/cni/bin"); err == nil {
				c.CNIDir = "/opt/cni/bin"
			}
		}
	}
	if c.Processes == 0 {
		c.Processes = 8192
	}
	for _, file := range c.CAFiles {
		if _, err := os.Stat(file); err != nil {
			return c, fmt.Errorf("CA certificates for builds: %w", err)
		}
	}
	if p := c.Subnet; p.IsValid() && (!p.Addr().Is4() || p.Bits() > 24 || p.Bits() < 8) {
		return c, fmt.Errorf("network of builds: %s is no IPv4 prefix of 8 to 24 bits", p)
	}
	return c, nil
}
