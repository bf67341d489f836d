package token_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// BenchmarkCheck is what access adds to a request that shows a token: login and
// decision, as a server does them. It has to stay below 50 µs.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	for n := range 50 {
		w.rule(fmt.Sprintf("group:team%d", n), "pull,push", fmt.Sprintf("team%d/**", n))
	}
	raw := w.get("anna", "right", "scope=repository:team/app:pull,push").Token
	r := httptest.NewRequest("GET", "/v2/team/app/manifests/latest", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	check := func(b *testing.B) {
		b.Helper()
		i, err := w.login.Request(r)
		if err != nil || !w.policy.Decide(ctx, i, auth.Push, "team/app").Allowed {
			b.Fatalf("%+v, %v", i, err)
		}
	}
	b.Run("idle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check(b)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				check(b)
			}
		})
	})
	// A commit of something else before each request: the generation is read.
	b.Run("after a commit", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			w.update(func(tx *db.Tx) error {
				_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES ('x', 'y') ON CONFLICT (name) DO UPDATE SET value = excluded.value`)
				return err
			})
			b.StartTimer()
			check(b)
		}
	})
	b.Run("password", func(b *testing.B) {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.SetBasicAuth("anna", "right")
		for b.Loop() {
			if _, err := w.login.Request(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			raw := issue(b, w.issuer, auth.Identity{Kind: auth.KindUser, Name: "anna"}, "repository:team/app:pull")
			b.StartTimer()
			if _, err := w.issuer.Verify(ctx, raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
