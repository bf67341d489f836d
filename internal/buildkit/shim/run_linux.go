package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// applyRun does what the step's run asks for, if its environment names one.
func applyRun(folder, bundle string, spec *specs.Spec) error {
	token, err := takeMarker(&spec.Process.Env)
	if err != nil || token == "" {
		return err
	}
	dir := filepath.Join(folder, RunsFolder, token)
	raw, err := os.ReadFile(filepath.Join(dir, RunFile))
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the run that this step belongs to has ended, so it does not start; build again")
	}
	if err != nil {
		return err
	}
	var run Run
	if err := json.Unmarshal(raw, &run); err != nil {
		return fmt.Errorf("reading the run of this step: %w", err)
	}
	service := takeVariable(&spec.Process.Env, EnvPod) == PodService
	if run.Pod {
		if err := joinPod(dir, spec, service); err != nil {
			return err
		}
	}
	return addHosts(bundle, spec, run.Hosts)
}

// takeMarker removes the markers from NO_PROXY, and the variable if nothing else
// was in it, and returns their token.
func takeMarker(env *[]string) (token string, err error) {
	var kept []string
	for _, entry := range *env {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.EqualFold(name, "no_proxy") || !strings.Contains(value, markerPrefix) {
			kept = append(kept, entry)
			continue
		}
		var hosts []string
		for host := range strings.SplitSeq(value, ",") {
			inner, isMarker := strings.CutPrefix(strings.TrimSpace(host), markerPrefix)
			inner, ends := strings.CutSuffix(inner, markerSuffix)
			switch {
			case !isMarker || !ends:
				hosts = append(hosts, host)
			case !ValidToken(inner):
				return "", fmt.Errorf("%s holds a marker with a bad token", name)
			case token != "" && token != inner:
				return "", fmt.Errorf("%s holds the markers of two runs", name)
			default:
				token = inner
			}
		}
		if len(hosts) > 0 {
			kept = append(kept, name+"="+strings.Join(hosts, ","))
		}
	}
	*env = kept
	return token, nil
}

// takeVariable removes a variable and returns its value.
func takeVariable(env *[]string, name string) string {
	value, _ := getenv(*env, name)
	*env = slices.DeleteFunc(*env, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
	return value
}

// sandboxName is the host name that BuildKit gives to every container that asks
// for none.
const sandboxName = "buildkitsandbox"

// joinPod gives a container the network of its run's pod. The first service makes
// the pod: the others join the network that BuildKit gave to it.
//
// That service has a host name of its own, because BuildKit makes a new network
// for such a container and destroys it afterwards. The others come from a pool
// and go to the next step, of any build, while the pod might still be joined.
func joinPod(dir string, spec *specs.Spec, service bool) error {
	own := networkOf(spec)
	if own == nil || own.Path == "" {
		return nil // RUN --network=none
	}
	unlock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	record := filepath.Join(dir, "pod")
	raw, err := os.ReadFile(record)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if made {
		if _, err := os.Stat(string(raw)); err == nil {
			own.Path = string(raw)
			return nil
		}
		if !service {
			return errors.New("the services of this run have ended, so the step does not start")
		}
	}
	if !service {
		return nil // before the services start
	}
	if spec.Hostname == "" || spec.Hostname == sandboxName {
		return errors.New("the first service of a run needs a host name of its own")
	}
	return os.WriteFile(record, []byte(own.Path), 0o600)
}

func networkOf(spec *specs.Spec) *specs.LinuxNamespace {
	for i := range spec.Linux.Namespaces {
		if spec.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			return &spec.Linux.Namespaces[i]
		}
	}
	return nil
}

// addHosts puts a longer copy of /etc/hosts in the place of BuildKit's, which
// other containers use too. The copy is in the bundle, and goes with it.
func addHosts(bundle string, spec *specs.Spec, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if path.Clean(m.Destination) != "/etc/hosts" {
			continue
		}
		hosts, err := os.ReadFile(m.Source)
		if err != nil {
			return err
		}
		if len(hosts) > 0 && hosts[len(hosts)-1] != '\n' {
			hosts = append(hosts, '\n')
		}
		m.Source = filepath.Join(bundle, "slipway-hosts")
		return os.WriteFile(m.Source, append(hosts, strings.Join(lines, "\n")+"\n"...), 0o644)
	}
	return errors.New("the container has no /etc/hosts to add the services of its run to")
}

func lockFile(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return func() { _ = f.Close() }, nil
}
