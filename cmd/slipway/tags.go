package main

import (
	"io"

	"github.com/spf13/cobra"
)

func newTagsCommand() *cobra.Command {
	return newRegistryCommand("tags REPO", "List the tags of a repository",
		`List the tags of a repository, one a line.

With -o json: {"repository", "tags": [names]}.`,
		`  slipway tags registry.example/team/app
  slipway tags debian -o json`,
		cobra.ExactArgs(1), func(s *session) error {
			tags, err := s.Tags(s.cmd.Context(), s.args[0])
			if err != nil {
				return err
			}
			result := struct {
				Repository string   `json:"repository"`
				Tags       []string `json:"tags"`
			}{s.args[0], tags}
			return s.print(result, func(w io.Writer) { printNames(w, tags) })
		})
}
