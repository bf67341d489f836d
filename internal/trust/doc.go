// Package trust makes the container tools of one machine trust one registry
// whose certificate comes from a private authority.
//
// It goes in four steps. [Fetch] asks the registry which authority signed its
// certificate, over TLS that nobody has verified yet: who is in between could
// answer with an authority of his own. So the second step is a person's: the
// authority's fingerprint is compared with the one that the server's terminal
// showed. [Verify] then makes a request in which nothing but this authority
// counts, so that what is written is known to work. Last, [Machine.Plan] says
// what each tool needs, and [Machine.Apply] does it.
//
// Every tool has a place of its own, and none of them is daemon.json:
//
//	Docker                  /etc/docker/certs.d/HOST:PORT/ca.crt
//	Podman, Buildah, Skopeo /etc/containers/certs.d/HOST:PORT/ca.crt
//	containerd, nerdctl     /etc/containerd/certs.d/HOST:PORT/hosts.toml
//	BuildKit                a table in /etc/buildkit/buildkitd.toml
//	k3s, RKE2               an entry in registries.yaml
//	the system              its folder of authorities, on request
//
// Docker and Podman look there at each request. The others need a restart, or
// one setting for ever, which trust names and leaves to a person.
//
// What trust wrote, it can recognise without keeping a list: a certificate
// file begins with a line that names the registry, and a part of another's
// file stands between two lines that hold its checksum. [Machine.PlanUndo]
// takes back what still is as trust would write it, and leaves what somebody
// changed.
//
// Some machines have no slipway. [Script] does the first places in plain
// shell, and [OneLine] is what to paste there: it arrives by another way than
// the network in question, so it holds the hash of all that it will run.
package trust
