package bake

import "time"

// SettingsFile is where a project says what bake and compose files have no
// words for. It stands in the root of the checkout and is optional.
const SettingsFile = "slipway.yaml"

// Settings is the content of slipway.yaml, with defaults filled in.
type Settings struct {
	// Repository is the name under which targets without a repository of their
	// own are published. Empty: the caller's choice, which is the folder's name.
	Repository string `json:"repository,omitempty"`
	// Tests are how targets and groups are run as tests, by name.
	Tests map[string]TestSettings `json:"tests,omitempty"`
	// Gates are, for each target or group of tests, the targets and groups whose
	// tags it holds back. Nil: `test` gates all. Empty: nothing is gated.
	Gates map[string][]string `json:"gates"`
	// MaxAge is how long a result stays good that depends on the network: a RUN
	// step, an ADD without a checksum. Zero: for ever.
	MaxAge time.Duration `json:"maxAge,omitempty"`
	// Keep is how many numbered tags of a repository stay; -1: all.
	Keep int `json:"keep"`
	// Compression of layers: zstd or gzip. Empty: the caller's choice.
	Compression string `json:"compression,omitempty"`
	// Attestations says to keep provenance within the index, too.
	Attestations bool `json:"attestations,omitempty"`
}

// DefaultKeep is how many numbered tags of a repository stay by default.
const DefaultKeep = 20

// TestSettings is how a target is run as a test.
type TestSettings struct {
	// Services run beside the test, reachable under their names.
	Services map[string]*Service `json:"services,omitempty"`
	// Reports are patterns of paths in the file system of the test's stage, whose
	// files are kept with the run. None given: DefaultReports.
	Reports []string `json:"reports,omitempty"`
	// MinCoverage, in percent, fails a test that covers less. Zero: no floor.
	MinCoverage float64 `json:"minCoverage,omitempty"`
}

// DefaultReports are the reports that are looked for when none are named. A
// pattern without a slash is looked for in the stage's working folder.
var DefaultReports = []string{"junit.xml", "coverage.*"}

// Service is a container that runs beside a test.
type Service struct {
	Image       string            `json:"image"`
	Command     []string          `json:"command,omitempty"`    // none: the image's
	Entrypoint  []string          `json:"entrypoint,omitempty"` // none: the image's
	Environment map[string]string `json:"environment,omitempty"`
	User        string            `json:"user,omitempty"`
	WorkingDir  string            `json:"workingDir,omitempty"`
	Tmpfs       []string          `json:"tmpfs,omitempty"` // absolute paths
	// Healthcheck says when it is ready. Nil: the image's, and without one as
	// soon as it runs.
	Healthcheck *Healthcheck `json:"healthcheck,omitempty"`
	// DependsOn are services that must be ready first.
	DependsOn []string `json:"dependsOn,omitempty"`
}

// Healthcheck is a command that succeeds once a service is ready. Zero values
// are Docker's: 30 s, 30 s, 0, 3.
type Healthcheck struct {
	Test        []string      `json:"test"` // "CMD", argument… or "CMD-SHELL", command; "NONE" for none
	Interval    time.Duration `json:"interval,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
	StartPeriod time.Duration `json:"startPeriod,omitempty"`
	Retries     int           `json:"retries,omitempty"`
}
