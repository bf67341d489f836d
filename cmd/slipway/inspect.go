package main

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newInspectCommand() *cobra.Command {
	var platform string
	cmd := newRegistryCommand("inspect REF", "Show what an image is made of",
		`Show the digest, platforms, size, configuration, labels and layers of an image,
and what refers to it: signatures, attestations, SBOMs. Sizes are those of the
compressed content. Of an index with several images every platform is listed;
--platform shows one of them.

With -o json: {"reference", "digest", "mediaType", "artifactType", "size",
"subject", "annotations": {}, "platforms": [{"platform", "digest", "mediaType",
"size", "attests", "missing"}], "image": {"digest", "platform", "created",
"author", "config": {"entrypoint": [], "cmd": [], "env": [], "user", "ports": [],
"workdir", "volumes": [], "stopSignal"}, "labels": {}, "layers": [{"digest",
"mediaType", "size"}]}, "referrers": [{"digest", "mediaType", "artifactType",
"size", "annotations": {}}]}; sizes are bytes. "image" is there when there is
one image to show.`,
		`  slipway inspect debian:12
  slipway inspect registry.example/team/app:44 --platform linux/arm64
  slipway inspect localhost:5000/app@sha256:… -o json`,
		cobra.ExactArgs(1), func(s *session) error {
			in, err := s.Inspect(s.cmd.Context(), s.args[0], platform)
			if err != nil {
				return err
			}
			return s.print(in, func(w io.Writer) { printInspection(w, in) })
		})
	cmd.Flags().StringVar(&platform, "platform", "", "show the image for `OS/ARCH` of an index")
	return cmd
}

func printInspection(w io.Writer, in *remote.Inspection) {
	rows := [][]string{
		{"Reference:", in.Reference},
		{"Digest:", in.Digest},
		{"Media type:", in.MediaType},
	}
	if in.ArtifactType != "" {
		rows = append(rows, []string{"Artifact type:", in.ArtifactType})
	}
	rows = append(rows, []string{"Size:", humanSize(in.Size)})
	if in.Subject != "" {
		rows = append(rows, []string{"Refers to:", in.Subject})
	}
	table(w, rows)
	printMap(w, "Annotations", in.Annotations)
	if isList := len(in.Platforms) != 1 || in.Platforms[0].Digest != in.Digest; isList {
		printPlatforms(w, in.Platforms)
	}
	if in.Image != nil {
		printImage(w, in.Image)
	}
	printReferrers(w, in.Referrers)
	if in.Image == nil && len(in.Platforms) > 0 {
		fmt.Fprintf(w, "\nAdd --platform OS/ARCH to see the configuration and layers of one.\n")
	}
}

func printPlatforms(w io.Writer, platforms []remote.PlatformImage) {
	fmt.Fprintf(w, "\nPlatforms:\n")
	rows := [][]string{}
	for _, p := range platforms {
		what, remark := p.Platform, ""
		switch {
		case p.Attests != "":
			what, remark = "attestation", "of "+shortDigest(p.Attests)
		case what == "":
			what = "-"
		}
		if p.Missing {
			remark = "not in this registry"
		}
		rows = append(rows, []string{"  " + what, p.Digest, humanSize(p.Size), remark})
	}
	table(w, rows)
}

func printImage(w io.Writer, image *remote.Image) {
	fmt.Fprintln(w)
	rows := [][]string{}
	add := func(label, value string) {
		if value != "" {
			rows = append(rows, []string{label, value})
		}
	}
	add("Platform:", image.Platform)
	if image.Created != nil {
		add("Created:", fmt.Sprintf("%s (%s)", image.Created.UTC().Format(time.RFC3339), age(image.Created, time.Now())))
	}
	add("Author:", image.Author)
	if c := image.Config; c != nil {
		add("Entrypoint:", words(c.Entrypoint))
		add("Cmd:", words(c.Cmd))
		add("User:", c.User)
		add("Workdir:", c.Workdir)
		add("Ports:", strings.Join(c.Ports, ", "))
		add("Volumes:", strings.Join(c.Volumes, ", "))
		add("Stop signal:", c.StopSignal)
	}
	table(w, rows)
	if c := image.Config; c != nil && len(c.Env) > 0 {
		fmt.Fprintf(w, "\nEnvironment:\n")
		for _, e := range c.Env {
			fmt.Fprintln(w, "  "+remote.CleanText(e))
		}
	}
	printMap(w, "Labels", image.Labels)
	fmt.Fprintf(w, "\nLayers:\n")
	rows = rows[:0]
	for _, l := range image.Layers {
		rows = append(rows, []string{"  " + l.Digest, humanSize(l.Size), l.MediaType})
	}
	table(w, rows)
}

func printReferrers(w io.Writer, referrers []remote.Referrer) {
	if len(referrers) == 0 {
		return
	}
	fmt.Fprintf(w, "\nReferrers:\n")
	rows := [][]string{}
	for _, r := range referrers {
		kind := r.ArtifactType
		if kind == "" {
			kind = r.MediaType
		}
		rows = append(rows, []string{"  " + r.Digest, humanSize(r.Size), kind})
	}
	table(w, rows)
}

func printMap(w io.Writer, title string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, name := range names {
		fmt.Fprintf(w, "  %s=%s\n", remote.CleanText(name), remote.CleanText(m[name]))
	}
}

// words shows a command line's words, quoted where a space would hide their ends.
func words(list []string) string {
	shown := make([]string, len(list))
	for i, word := range list {
		if word == "" || strings.ContainsAny(word, " \t\n\"") {
			word = fmt.Sprintf("%q", word)
		}
		shown[i] = word
	}
	return strings.Join(shown, " ")
}
