package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newPullCommand() *cobra.Command {
	var o remote.PullOptions
	cmd := newRegistryCommand("pull REF FILE", "Write an image to a file or folder",
		`Write what REF names to FILE. A FILE that ends in .tar becomes a docker-archive,
for 'docker load': one image, of --platform, else the only one, else the one
for this machine. Any other FILE becomes a folder with an OCI layout: all
platforms, exact bytes. --format decides otherwise; an OCI layout in a FILE that
ends in .tar is packed into it.

With -o json: {"reference", "digest", "mediaType", "file", "format", `+tallyHelp+`.`,
		`  slipway pull registry.example/team/app:44 app.tar
  slipway pull registry.example/team/app:44 ./app
  slipway pull debian:12 debian.tar --platform linux/arm64
  slipway pull debian:12 debian.oci.tar --format oci`,
		cobra.ExactArgs(2), func(s *session) error {
			p, err := s.Pull(s.cmd.Context(), s.args[0], s.args[1], o)
			if err != nil {
				return err
			}
			return s.print(p, func(w io.Writer) {
				fmt.Fprintf(w, "%s (%s) %s\n", p.File, p.Format, p.Digest)
			})
		})
	cmd.Flags().StringVar(&o.Platform, "platform", "", "take the image for `OS/ARCH` of an index")
	cmd.Flags().StringVar(&o.Format, "format", "", "write docker-archive or oci")
	return withJobs(cmd)
}
