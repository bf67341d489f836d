package daemon

import "slipway/internal/buildkit/shim"

// Run is what the RUN steps of a registered run may do.
type Run = shim.Run

// Marker is the entry of NO_PROXY that says for which run a RUN step works.
func Marker(token string) string { return shim.Marker(token) }

// PodService is the entry of a container's environment, beside the marker, that
// makes it a service of its run's pod. The container does not see it.
const PodService = shim.EnvPod + "=" + shim.PodService

// ReportExit is an entry of the environment of a further process in a container:
// it then always ends with 0, and prints ExitMark and its exit code last.
const ReportExit = "SLIPWAY_EXIT=report"

// ExitMark is what comes before the exit code.
const ExitMark = "\nslipway-exit:"
