package rest

import (
	"context"
	"fmt"
	"net/http"

	"slipway/internal/db"
	"slipway/internal/meta"
)

const (
	defaultQuotas = 1000
	maxQuotas     = 10_000
)

// ListQuotas implements the API.
func (s *server) ListQuotas(ctx context.Context, request ListQuotasRequestObject) (ListQuotasResponseObject, error) {
	n := defaultQuotas
	if p := request.Params.N; p != nil {
		n = min(max(*p, 1), maxQuotas)
	}
	answer := ListQuotas200JSONResponse{Repositories: []RepositoryUse{}}
	quota := &s.Registry.Quota
	err := s.DB.View(ctx, func(tx *db.Tx) error {
		total, err := meta.TotalUse(tx)
		if err != nil {
			return err
		}
		answer.Total = Use{Bytes: total, QuotaBytes: quota.Total}
		list, err := meta.Uses(tx, n+1)
		if answer.More = len(list) > n; answer.More {
			list = list[:n]
		}
		for _, u := range list {
			answer.Repositories = append(answer.Repositories, RepositoryUse{Name: u.Name, Bytes: u.Bytes, QuotaBytes: quota.Limit(u), Own: u.Own})
		}
		return err
	})
	return answer, err
}

// setQuota gives a repository a quota, or takes it away with -1, and returns
// what the audit log says of it.
func setQuota(tx *db.Tx, repository string, bytes int64) (reason string, err error) {
	switch {
	case bytes < -1:
		return "", problemError{http.StatusBadRequest, "quota_bytes is a size in bytes, 0 for no limit, or -1 for the limit that all repositories have"}
	case bytes == -1:
		return "quota_bytes: that of the server", meta.RemoveQuota(tx, repository)
	}
	return fmt.Sprintf("quota_bytes: %d", bytes), meta.SetQuota(tx, repository, bytes)
}
