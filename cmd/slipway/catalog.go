package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newCatalogCommand() *cobra.Command {
	return newRegistryCommand("catalog HOST", "List the repositories of a registry",
		`List the repositories of a registry, one a line.

With -o json: {"registry", "repositories": [names]}.`,
		`  slipway catalog registry.example
  slipway catalog localhost:5000 -o json`,
		cobra.ExactArgs(1), func(s *session) error {
			repos, err := s.Catalog(s.cmd.Context(), s.args[0])
			if err != nil {
				return err
			}
			result := struct {
				Registry     string   `json:"registry"`
				Repositories []string `json:"repositories"`
			}{s.args[0], repos}
			return s.print(result, func(w io.Writer) { printNames(w, repos) })
		})
}

func printNames(w io.Writer, names []string) {
	for _, n := range names {
		fmt.Fprintln(w, remote.CleanText(n))
	}
}
