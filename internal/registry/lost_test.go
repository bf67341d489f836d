package registry_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"slipway/internal/blob"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// failingStore commits and then fails, or aborts as a failed commit does.
type failingStore struct {
	blob.Store
	after bool // the bytes have left the upload when the commit fails
}

var errStore = errors.New("the store failed")

func (s failingStore) Commit(ctx context.Context, state blob.State, d oci.Digest, size int64) (blob.Key, error) {
	if !s.after {
		return "", errors.Join(errStore, s.Abort(ctx, state))
	}
	_, err := s.Store.Commit(ctx, state, d, size)
	return "", errors.Join(errStore, err)
}

// A client that was told of an offset, and whose closing request failed or was
// cut off by a crash, must be told to start again, not that the server failed.
func TestUploadLostWhileFinishing(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 5000)
	d := oci.FromBytes(oci.SHA256, content)
	for name, after := range map[string]bool{"before the bytes moved": false, "after the bytes moved": true} {
		for next, request := range map[string]func(*registrytest.Store, string) error{
			"status": func(s *registrytest.Store, id string) error {
				_, err := s.UploadStatus(t.Context(), "app", id)
				return err
			},
			"append": func(s *registrytest.Store, id string) error {
				_, err := s.AppendUpload(t.Context(), "app", id, registry.Body{Reader: bytes.NewReader(content), Length: -1})
				return err
			},
			"finish": func(s *registrytest.Store, id string) error {
				return s.FinishUpload(t.Context(), "app", id, d, registry.Body{Reader: bytes.NewReader(nil)})
			},
		} {
			t.Run(name+"/"+next, func(t *testing.T) {
				files, err := blob.OpenFS(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				s := registrytest.Open(t, registry.Config{Blobs: failingStore{files, after}}, nil)
				u, err := s.StartUpload(t.Context(), "app", oci.SHA256)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.AppendUpload(t.Context(), "app", u.ID, registry.Body{Reader: bytes.NewReader(content), Length: -1}); err != nil {
					t.Fatal(err)
				}
				if err := s.FinishUpload(t.Context(), "app", u.ID, d, registry.Body{Reader: bytes.NewReader(nil)}); !errors.Is(err, errStore) {
					t.Fatalf("the closing request: %v", err)
				}
				s.Reopen()
				// The answer stays the same, whatever is asked first.
				for _, ask := range slices.Repeat([]func(*registrytest.Store, string) error{request}, 2) {
					if err := ask(s, u.ID); !oci.HasCode(err, oci.CodeBlobUploadUnknown) {
						t.Errorf("got %v, want %s", err, oci.CodeBlobUploadUnknown)
					}
				}
				s.PutBlob("app2", []byte("the registry still works"))
			})
		}
	}
}
