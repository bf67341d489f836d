package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

func newRmCommand() *cobra.Command {
	var byDigest, repository bool
	cmd := newRegistryCommand("rm REF [REF...]", "Delete tags, manifests or whole repositories",
		`Delete what each REF names, at once and without asking.

REPO:TAG deletes the tag alone, where the registry can do that. Others, such as
docker-registry, delete only by digest, which removes every tag of that digest:
--digest allows it. REPO@sha256:… deletes that manifest with all its tags.
--repository deletes whole repositories. All REFs are tried; the exit code is 1
when one of them failed.

With -o json: [{"reference", "digest"}], digest being set where a manifest was
deleted; with --repository [{"repository", "whole", "manifests": [digests]}].`,
		`  slipway rm registry.example/team/app:old
  slipway rm --digest registry.example/team/app:old registry.example/team/app:older
  slipway rm registry.example/team/app@sha256:…
  slipway rm --repository registry.example/team/app`,
		cobra.MinimumNArgs(1), func(s *session) error {
			if repository && byDigest {
				return usageError{errors.New("--repository and --digest exclude each other")}
			}
			if repository {
				return rmRepositories(s)
			}
			return rmReferences(s, byDigest)
		})
	cmd.Flags().BoolVar(&byDigest, "digest", false, "delete the manifest behind a tag, with all its tags")
	cmd.Flags().BoolVar(&repository, "repository", false, "delete whole repositories: the arguments are HOST/REPO")
	return cmd
}

func rmReferences(s *session, byDigest bool) error {
	done, failed := []remote.Deleted{}, []error{}
	for _, ref := range s.args {
		one, err := s.Delete(s.cmd.Context(), ref, byDigest)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		done = append(done, *one)
	}
	err := s.print(done, func(w io.Writer) {
		for _, d := range done {
			fmt.Fprint(w, "deleted ", remote.CleanText(d.Reference))
			if d.Digest != "" && byDigest {
				fmt.Fprint(w, " (", d.Digest, ")")
			}
			fmt.Fprintln(w)
		}
	})
	return s.last(append(failed, err))
}

func rmRepositories(s *session) error {
	done, failed := []remote.DeletedRepository{}, []error{}
	for _, repo := range s.args {
		one, err := s.DeleteRepository(s.cmd.Context(), repo)
		if err != nil {
			failed = append(failed, err)
		}
		if one != nil && (err == nil || len(one.Manifests) > 0) {
			done = append(done, *one)
		}
	}
	err := s.print(done, func(w io.Writer) {
		for _, d := range done {
			if d.Whole {
				fmt.Fprintf(w, "deleted %s\n", d.Repository)
			} else {
				fmt.Fprintf(w, "deleted %d manifests of %s\n", len(d.Manifests), d.Repository)
			}
		}
	})
	return s.last(append(failed, err))
}

// last reports all failures but the last one, and returns that for the caller
// to report, so that each has its own line.
func (s *session) last(errs []error) error {
	var last error
	for _, err := range errs {
		if err == nil {
			continue
		}
		if last != nil {
			s.note("slipway: %v", last)
		}
		last = err
	}
	return last
}
