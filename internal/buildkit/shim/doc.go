// Package shim is the small program slipway-runc, which stands at two places
// around BuildKit's daemon. It is a program of its own because every RUN step
// starts it, and a few milliseconds are all it may cost.
//
// As `slipway-runc init` it is the first process of the namespaces that hold
// buildkitd: processes, mounts and network. Whatever buildkitd starts, mounts or
// configures is inside, so when this process ends, however it ends, the kernel
// kills every RUN step, unmounts everything and removes every interface. Nothing
// has to be cleaned up afterwards, not even after kill -9.
//
// As the OCI runtime it is what buildkitd calls in the place of runc: it changes
// the bundle's config.json, then becomes runc. BuildKit never sees the changes,
// so they are in no cache key, no layer and no provenance:
//
//   - certificates: the bundle of extra CA certificates at a place below /dev,
//     which is not part of any layer, and the variables that name it;
//   - the run: a marker in NO_PROXY, which BuildKit keeps out of its cache keys
//     just as the other proxy variables, says for which run the step works. It is
//     taken out again, and the file of that run says what the step may do;
//   - limits: the control group below which it runs.
package shim
