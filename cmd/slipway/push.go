package main

import (
	"io"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newPushCommand() *cobra.Command {
	var o remote.ImportOptions
	cmd := newRegistryCommand("push FILE REF", "Upload an image from a file or folder",
		`Upload an image to REF. FILE is a docker-archive ('docker save'), or an OCI
layout as a folder or a tar; - reads standard input. Tars may be compressed with
gzip, zstd or bzip2. An OCI layout keeps its digests. Of an archive that is both,
as 'docker save' writes today, the layout is taken unless its layers are
uncompressed; --format decides otherwise.

With -o json: {"source", "destination", "digest", "mediaType", `+tallyHelp+`.`,
		`  slipway push app.tar registry.example/team/app:44
  slipway push ./layout registry.example/team/app:44
  docker save app | slipway push - registry.example/team/app:44`,
		cobra.ExactArgs(2), func(s *session) error {
			c, err := s.Push(s.cmd.Context(), s.args[0], s.args[1], o)
			if err != nil {
				return err
			}
			return s.print(c, func(w io.Writer) { printCopy(w, c) })
		})
	cmd.Flags().StringVar(&o.Image, "image", "", "which of several images: its `NAME` or digest in the archive")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "upload only the image for `OS/ARCH` of an index")
	cmd.Flags().StringVar(&o.Format, "format", "", "read FILE as docker-archive or oci")
	return withJobs(cmd)
}
