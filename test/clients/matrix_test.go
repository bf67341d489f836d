//go:build linux

package clients

import (
	"testing"

	"slipway/test/harness"
)

// TestMatrix pushes an image with every client and pulls each with every client.
// The digest that the pushing client reports, the one that the server serves and
// the one that the pulling client finds are the same.
func TestMatrix(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	clients := []struct {
		name string
		client
	}{
		{"docker", newDocker(t)},
		{"podman", newPodman(t)},
		{"buildah", newBuildah(t)},
		{"skopeo", newSkopeo(t)},
		{"crane", newCrane(t)},
		{"oras", newOras(t)},
		{"regctl", newRegctl(t, srv)},
	}
	program := hello(t)
	for _, from := range clients {
		t.Run(from.name, func(t *testing.T) {
			repo := "from/" + from.name
			pushed := from.push(t, newImage(t, program), srv.Host()+"/"+repo+":1")
			equal(t, "push", pushed, srv.Digest(repo, "1"))
			for _, to := range clients {
				t.Run("to "+to.name, func(t *testing.T) {
					equal(t, "pull", pushed, to.pull(t, srv.Host()+"/"+repo+":1"))
				})
			}
		})
	}
}
