package oci_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"slipway/internal/oci"
)

func TestError(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("wrapped: %w", oci.NewError(oci.CodeBlobUnknown, "no blob").WithCause(cause))
	if !oci.HasCode(err, oci.CodeBlobUnknown) || oci.HasCode(err, oci.CodeDenied) || oci.HasCode(cause, oci.CodeBlobUnknown) || oci.HasCode(nil, oci.CodeBlobUnknown) {
		t.Error("HasCode")
	}
	if !errors.Is(err, cause) || !errors.Is(err, oci.NewError(oci.CodeBlobUnknown, "")) || errors.Is(err, oci.NewError(oci.CodeDenied, "")) {
		t.Error("errors.Is")
	}
	for code, status := range map[oci.Code]int{
		oci.CodeBlobUnknown: 404, oci.CodeRangeInvalid: 416, oci.CodeManifestTooLarge: 413, oci.CodeUnsupported: 405, oci.CodeBlobInUse: 409,
		oci.CodeInsufficientSpace: 507, oci.CodeUnavailable: 503, oci.CodeDenied: 403, oci.CodeUnauthorized: 401, oci.CodeTooManyRequests: 429, "MADE_UP": http.StatusInternalServerError,
	} {
		if got := oci.NewError(code, "").Status(); got != status {
			t.Errorf("%s: status %d, want %d", code, got, status)
		}
	}
}
