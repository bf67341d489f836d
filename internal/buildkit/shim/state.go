package shim

// EnvFolder is the variable that names the folder of a daemon's settings for the
// runtime. buildkitd hands its environment on to the runtime.
const EnvFolder = "SLIPWAY_RUNTIME"

// EnvPod is a variable of a container with the value PodService if it is a service
// of its run's pod. The container does not see it.
const EnvPod, PodService = "SLIPWAY_POD", "service"

// Files in that folder.
const (
	SettingsFile = "runtime.json" // a Settings
	RunsFolder   = "runs"         // one folder per run, named by its token
)

// Settings is what the runtime has to know about the daemon that calls it.
type Settings struct {
	Runtime string `json:"runtime"`          // absolute path of runc
	CAFile  string `json:"caFile,omitempty"` // certificates for RUN steps, if any were configured
	Cgroup  string `json:"cgroup,omitempty"` // containers belong below this control group
}

// Init is what `slipway-runc init` reads from file descriptor 3, as JSON, once
// its network stands and its control group is set.
type Init struct {
	Args    []string `json:"args"`             // buildkitd: an absolute path, then arguments
	Env     []string `json:"env"`              // all of its environment
	Private []string `json:"private"`          // folders that get an empty file system of their own
	Resolv  string   `json:"resolv,omitempty"` // stands in for /etc/resolv.conf
	Rules   string   `json:"rules,omitempty"`  // for iptables-restore
	Nice    int      `json:"nice"`
	OOM     int      `json:"oom"` // oom_score_adj
}

// Run is what a run's RUN steps may do. The zero value is a run like any other.
type Run struct {
	// Pod: all containers of the run share the network of its first service, so
	// that they reach each other at 127.0.0.1, and nobody else does.
	Pod bool `json:"pod,omitempty"`
	// Hosts are more lines of /etc/hosts, such as "127.0.0.1 db".
	Hosts []string `json:"hosts,omitempty"`
}
