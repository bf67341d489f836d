//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/registry"
	"slipway/internal/rest"
)

// quotaSettings are the limits of what is kept; 0 is none.
type quotaSettings struct{ total, repository byteSize }

func (s *quotaSettings) addFlags(f *pflag.FlagSet) {
	f.Var(&s.total, "quota.total", "most that all repositories keep together, each blob counted once, such as 500GiB; 0 is no limit")
	f.Var(&s.repository, "quota.repository", "most that each repository keeps, unless 'slipway quota' gave it another limit; 0 is no limit")
}

// quotaOf is what a server is set to. A command passes nil and gets what the
// server of the folder had last.
func quotaOf(ctx context.Context, d *db.DB, s *quotaSettings, exempt func(string) bool) (registry.Quota, error) {
	set := &quotaSettings{}
	if s != nil {
		*set = *s
	}
	for name, value := range map[string]*byteSize{"quota.total": &set.total, "quota.repository": &set.repository} {
		stored, found, err := meta.Setting(d.Read(ctx), name)
		switch {
		case err != nil:
		case s == nil && found:
			err = value.Set(stored)
		case s != nil && stored != value.String():
			err = d.Update(ctx, func(tx *db.Tx) error { return meta.SetSetting(tx, name, value.String()) })
		}
		if err != nil {
			return registry.Quota{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return registry.Quota{Total: int64(set.total), Repository: int64(set.repository), Exempt: exempt}, nil
}

func newQuotaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quota [REPOSITORY SIZE|none|default]",
		Short: "List what repositories use and may use, or limit one",
		Long: `Without arguments, list what each repository uses and what it may, those that use
most first. With a repository, limit what it may keep: to a size, to nothing
(none), or to what the server's quota.repository says of all (default).

A repository uses the sizes of its blobs and manifests; a blob that several
repositories hold counts in each of them, and once in the total. A push that
would go past a limit is refused with 413, or 507 for the total. Lowering a
limit below what is used deletes nothing.` + apiHelp,
		Example: `  slipway quota --server https://registry.lan:5000
  slipway quota team/app 20GiB
  slipway quota team/app none --data /var/lib/slipway`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return errors.New("give a repository and its limit, or nothing for a list")
			}
			return nil
		},
	}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		if len(c.args) == 2 {
			return c.setQuota(c.args[0], c.args[1])
		}
		return c.listQuotas()
	})
}

func (c *apiCommand) setQuota(repository, limit string) error {
	var bytes byteSize
	switch limit {
	case "none":
	case "default":
		bytes = -1
	default:
		if err := bytes.Set(limit); err != nil || bytes == 0 {
			return usageError{fmt.Errorf("the limit is %q: use a size such as 20GiB, none, or default", limit)}
		}
	}
	r, err := ask[rest.Repository](c.endpoint, "limit "+repository, func(r *rest.Client) (*http.Response, error) {
		return r.UpdateRepository(c.cmd.Context(), repository, rest.RepositoryUpdate{QuotaBytes: (*int64)(&bytes)})
	})
	if err != nil {
		return err
	}
	return c.print(r, func(w io.Writer) {
		switch {
		case r.QuotaBytes == nil:
			fmt.Fprintf(w, "%s: as the server's quota.repository says\n", r.Name)
		case *r.QuotaBytes == 0:
			fmt.Fprintf(w, "%s: no limit\n", r.Name)
		default:
			fmt.Fprintf(w, "%s: at most %s\n", r.Name, sizeText(*r.QuotaBytes))
		}
	})
}

func (c *apiCommand) listQuotas() error {
	const most = 10_000
	n := most
	list, err := ask[rest.Quotas](c.endpoint, "list quotas", func(r *rest.Client) (*http.Response, error) {
		return r.ListQuotas(c.cmd.Context(), &rest.ListQuotasParams{N: &n})
	})
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		rows := [][]string{{"REPOSITORY", "USED", "LIMIT", "", "SET BY"}}
		for _, r := range list.Repositories {
			by := "-"
			switch {
			case r.Own:
				by = "slipway quota"
			case r.QuotaBytes > 0:
				by = "quota.repository"
			}
			rows = append(rows, append(useRow(r.Name, r.Bytes, r.QuotaBytes), by))
		}
		by := "-"
		if list.Total.QuotaBytes > 0 {
			by = "quota.total"
		}
		table(w, append(rows, append(useRow("(all, each blob once)", list.Total.Bytes, list.Total.QuotaBytes), by)))
		if list.More {
			fmt.Fprintf(w, "… and more: these are the %d that use most\n", most)
		}
	})
}

func useRow(name string, bytes, quota int64) []string {
	if quota == 0 {
		return []string{name, sizeText(bytes), "none", ""}
	}
	return []string{name, sizeText(bytes), sizeText(quota), strconv.FormatFloat(100*float64(bytes)/float64(quota), 'f', 0, 64) + "%"}
}
