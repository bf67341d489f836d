package mirror

import (
	"context"
	"net/http"
)

// DialPublic connects as upstreams that nobody configured are connected to.
func DialPublic(ctx context.Context, t *http.Transport, address string) error {
	conn, err := publicOnly(t).(*http.Transport).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err
}
