package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

// tallyHelp ends the list of JSON fields of commands that transfer images.
const tallyHelp = `"manifests", "blobs",
"bytes", "mounted", "existing", "referrers"}`

func newCpCommand() *cobra.Command {
	var o remote.CopyOptions
	var allTags bool
	cmd := newRegistryCommand("cp SRC DST", "Copy images between registries",
		`Copy what SRC names to DST: all platforms, with the same bytes and so the same
digest. What DST has already is not sent again; inside one registry blobs are
mounted. A DST without a tag takes over SRC's tag.

With -o json: {"source", "destination", "digest", "mediaType", `+tallyHelp+`; with
--all-tags a list of these. manifests, blobs and bytes count what was
transferred, existing what was there, mounted what the registry linked itself.`,
		`  slipway cp debian:12 registry.example/base/debian:12
  slipway cp old.example/team/app:44 new.example/team/app --referrers
  slipway cp --all-tags old.example/team/app new.example/team/app --jobs 8`,
		cobra.ExactArgs(2), func(s *session) error {
			if allTags {
				done, err := s.CopyAll(s.cmd.Context(), s.args[0], s.args[1], o)
				if len(done) > 0 || err == nil {
					perr := s.print(done, func(w io.Writer) {
						for i := range done {
							printCopy(w, &done[i])
						}
					})
					return s.last([]error{err, perr})
				}
				return err
			}
			c, err := s.Copy(s.cmd.Context(), s.args[0], s.args[1], o)
			if err != nil {
				return err
			}
			return s.print(c, func(w io.Writer) { printCopy(w, c) })
		})
	cmd.Flags().StringVar(&o.Platform, "platform", "", "copy only the image for `OS/ARCH` of an index")
	cmd.Flags().BoolVar(&o.Referrers, "referrers", false, "also copy signatures, attestations and other referrers")
	cmd.Flags().BoolVar(&allTags, "all-tags", false, "SRC and DST are repositories: copy every tag")
	return withJobs(cmd)
}

// printCopy names what is now at the destination, in a form that can be pulled.
func printCopy(w io.Writer, c *remote.Copy) {
	ref := remote.CleanText(c.Destination)
	if !strings.Contains(ref, "@") {
		ref += "@" + c.Digest
	}
	fmt.Fprintln(w, ref)
}
