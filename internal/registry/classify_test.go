package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"slipway/internal/oci"
	"slipway/internal/registry"
)

// The answer names what a person can mend, however deep it lies.
func TestClassify(t *testing.T) {
	broken := fmt.Errorf("read the rules: %w", syscall.EIO)
	unavailable := func() *oci.Error { return oci.NewError(oci.CodeUnavailable, "try again") }
	for name, tt := range map[string]struct {
		err  error
		code oci.Code
		says string
	}{
		"a failing disk":                 {broken, oci.CodeUnavailable, "disk reports errors"},
		"behind what is unavailable":     {unavailable().WithCause(broken), oci.CodeUnavailable, "disk reports errors"},
		"a full disk behind it":          {unavailable().WithCause(syscall.ENOSPC), oci.CodeInsufficientSpace, "disk is full"},
		"unavailable for another reason": {unavailable().WithCause(errors.New("busy")), oci.CodeUnavailable, "try again"},
		"unavailable without a reason":   {unavailable(), oci.CodeUnavailable, "try again"},
		"a refusal":                      {oci.NewError(oci.CodeDenied, "no").WithCause(syscall.EIO), oci.CodeDenied, "no"},
	} {
		got := registry.Classify(tt.err)
		if !oci.HasCode(got, tt.code) || !strings.Contains(got.Error(), tt.says) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if other := errors.New("other"); !errors.Is(registry.Classify(other), other) || registry.Classify(nil) != nil {
		t.Error("what is not known changed")
	}
}
