package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// runtimeMain stands in for runc: it edits the bundle of a container that is to
// be created, then becomes runc with the same arguments.
func runtimeMain(args []string) (int, error) {
	folder := os.Getenv(EnvFolder)
	if folder == "" {
		return 1, errors.New("this program is for buildkitd, started by slipway; " + EnvFolder + " is not set")
	}
	raw, err := os.ReadFile(filepath.Join(folder, SettingsFile))
	if err != nil {
		return 1, err
	}
	var settings Settings
	if err := json.Unmarshal(raw, &settings); err != nil {
		return 1, fmt.Errorf("reading %s: %w", SettingsFile, err)
	}
	if bundle, id, creates := creation(args[1:]); creates {
		if err := edit(folder, settings, bundle, id); err != nil {
			return 1, err
		}
	}
	if does, err := reports(args[1:]); err != nil {
		return 1, err
	} else if does {
		runtime.LockOSThread() // whose end would kill runc
		return report(settings.Runtime, args[1:])
	}
	argv := append([]string{settings.Runtime}, args[1:]...)
	err = syscall.Exec(settings.Runtime, argv, os.Environ())
	return 1, fmt.Errorf("starting %s: %w", settings.Runtime, err)
}

// creation tells whether runc's arguments create a container, from which bundle,
// and under which id.
func creation(args []string) (bundle, id string, creates bool) {
	command := ""
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "-") {
			if command == "" {
				command = name
			} else {
				id = args[i] // the last argument
			}
			continue
		}
		switch name {
		case "--debug", "--systemd-cgroup", "--detach", "-d", "--no-pivot", "--no-new-keyring", "--keep", "--no-subreaper":
			continue // these have no value
		}
		if !inline && i+1 < len(args) {
			i++
			value = args[i]
		}
		if name == "--bundle" || name == "-b" {
			bundle = value
		}
	}
	return bundle, id, command == "run" || command == "create"
}

// edit changes config.json of a bundle.
func edit(folder string, settings Settings, bundle, id string) error {
	file := filepath.Join(bundle, "config.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if spec.Process == nil || spec.Linux == nil {
		return fmt.Errorf("reading %s: it is no Linux container", file)
	}
	if err := applyRun(folder, bundle, &spec); err != nil {
		return err
	}
	if settings.CAFile != "" {
		addCertificates(&spec, settings.CAFile)
	}
	if settings.Cgroup != "" {
		confine(&spec, settings.Cgroup, id)
	}
	if raw, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}

// confine keeps a container below the control group of all builds: a build may
// name another as its parent.
func confine(spec *specs.Spec, cgroup, id string) {
	if !strings.HasPrefix(path.Clean(spec.Linux.CgroupsPath), cgroup+"/") {
		spec.Linux.CgroupsPath = path.Join(cgroup, "buildkit", id)
	}
}

// caPath is where a RUN step finds the certificates. /dev is a file system of the
// container's own, so no file is left in the layer, not even an empty one.
const caPath = "/dev/slipway-ca.crt"

// caVariables are what programs and libraries read: OpenSSL and Go, curl, git,
// Python's requests and pip, Node.js, the AWS tools, Nix, gRPC, Cargo, Deno.
var caVariables = []string{
	"SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS",
	"AWS_CA_BUNDLE", "NIX_SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "CARGO_HTTP_CAINFO", "DENO_CERT",
}

func addCertificates(spec *specs.Spec, file string) {
	own := false
	for _, m := range spec.Mounts {
		own = own || path.Clean(m.Destination) == "/dev" && m.Type == "tmpfs"
	}
	if !own {
		return // the step brings a /dev of its own, which may be part of a layer
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: caPath,
		Type:        "bind",
		Source:      file,
		Options:     []string{"bind", "ro", "nosuid", "nodev", "noexec"},
	})
	for _, name := range caVariables {
		if _, set := getenv(spec.Process.Env, name); !set {
			spec.Process.Env = append(spec.Process.Env, name+"="+caPath)
		}
	}
}

// getenv returns the last value, as programs see it.
func getenv(env []string, name string) (value string, set bool) {
	for _, entry := range env {
		if n, v, ok := strings.Cut(entry, "="); ok && n == name {
			value, set = v, true
		}
	}
	return value, set
}
