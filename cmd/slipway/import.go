package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newImportCommand() *cobra.Command {
	var o remote.ImportOptions
	var created string
	var labels []string
	cmd := newRegistryCommand("import FILE REF", "Upload a root file system as an image",
		`Make an image of one layer from a tar of a root file system, and upload it to
REF. The tar may be compressed with gzip, zstd or bzip2; - reads standard input.
Equal input and flags give an equal digest. A docker-archive or an OCI layout
goes to REF as 'slipway push' sends it.

--entrypoint and --cmd may be repeated, once for each word.

With -o json: {"source", "destination", "digest", "mediaType", `+tallyHelp+`.`,
		`  slipway import rootfs.tar.gz registry.example/base/mine:1 --cmd /bin/sh
  slipway import rootfs.tar registry.example/base/mine:1 --platform linux/arm64 --label team=base --env LANG=C.UTF-8
  docker export box | slipway import - registry.example/base/mine:1
  xz -dc rootfs.tar.xz | slipway import - registry.example/base/mine:1`,
		cobra.ExactArgs(2), func(s *session) (err error) {
			if o.Created, err = parseCreated(created); err != nil {
				return usageError{err}
			}
			if o.Labels, err = parseLabels(labels); err != nil {
				return usageError{err}
			}
			c, err := s.Import(s.cmd.Context(), s.args[0], s.args[1], o)
			if err != nil {
				return err
			}
			return s.print(c, func(w io.Writer) { printCopy(w, c) })
		})
	flags := cmd.Flags()
	flags.StringVar(&o.Platform, "platform", "", "the image is for `OS/ARCH` (default "+remote.HostPlatform()+")")
	flags.StringArrayVar(&o.Cmd, "cmd", nil, "a `WORD` of the default command")
	flags.StringArrayVar(&o.Entrypoint, "entrypoint", nil, "a `WORD` of the entrypoint")
	flags.StringArrayVar(&o.Env, "env", nil, "an environment variable, `NAME=VALUE`")
	flags.StringArrayVar(&labels, "label", nil, "a label, `NAME=VALUE`")
	flags.StringVar(&o.Workdir, "workdir", "", "working `DIR`")
	flags.StringVar(&o.User, "user", "", "`USER` or UID that containers run as")
	flags.StringVar(&created, "created", "", "creation `TIME`, RFC 3339 or seconds since 1970 (default 1970-01-01T00:00:00Z)")
	flags.StringVar(&o.Compression, "compression", "", "compress the layer with gzip or zstd (default gzip)")
	flags.StringVar(&o.Image, "image", "", "which of several images in an archive: its `NAME` or digest")
	flags.StringVar(&o.Format, "format", "", "read FILE as rootfs, docker-archive or oci")
	return withJobs(cmd)
}

func parseCreated(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--created is a time such as 2026-01-31T12:00:00Z or seconds since 1970, not %q", text)
	}
	return t, nil
}

func parseLabels(list []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, l := range list {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--label is NAME=VALUE, not %q", l)
		}
		labels[name] = value
	}
	return labels, nil
}
