package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newTagCommand() *cobra.Command {
	return newRegistryCommand("tag REF NEW", "Give an image another tag in its repository",
		`Point the tag NEW at what REF names. NEW is a tag, or a full reference in the
same repository. Nothing but the manifest is transferred. To copy to another
repository use 'slipway cp'.

With -o json: {"reference", "digest", "mediaType"}.`,
		`  slipway tag registry.example/team/app:44 latest
  slipway tag registry.example/team/app@sha256:… registry.example/team/app:stable`,
		cobra.ExactArgs(2), func(s *session) error {
			t, err := s.Retag(s.cmd.Context(), s.args[0], s.args[1])
			if err != nil {
				return err
			}
			return s.print(t, func(w io.Writer) { fmt.Fprintf(w, "%s@%s\n", remote.CleanText(t.Reference), t.Digest) })
		})
}
