package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newHistoryCommand() *cobra.Command {
	var platform string
	cmd := newRegistryCommand("history REF", "Show the steps that made an image",
		`Show the steps that made an image, the newest first: age, size of the layer as
stored, instruction. Of an index it takes --platform, else the only image, else
the one for this machine.

With -o json: {"reference", "digest", "platform", "steps": [{"created",
"createdBy", "comment", "emptyLayer", "layer", "size"}]}; sizes are bytes.`,
		`  slipway history debian:12
  slipway history registry.example/team/app:44 --platform linux/arm64`,
		cobra.ExactArgs(1), func(s *session) error {
			h, err := s.History(s.cmd.Context(), s.args[0], platform)
			if err != nil {
				return err
			}
			return s.print(h, func(w io.Writer) { printHistory(w, h) })
		})
	cmd.Flags().StringVar(&platform, "platform", "", "take the image for `OS/ARCH` of an index")
	return cmd
}

func printHistory(w io.Writer, h *remote.History) {
	rows := [][]string{{"AGE", "SIZE", "INSTRUCTION"}}
	for _, step := range h.Steps {
		size, made := humanSize(step.Size), strings.TrimPrefix(step.CreatedBy, "/bin/sh -c #(nop) ")
		if step.Empty {
			size = "-"
		}
		if made == "" {
			made = step.Comment
		}
		rows = append(rows, []string{age(step.Created, time.Now()), size, strings.TrimSpace(made)})
	}
	table(w, rows)
}
