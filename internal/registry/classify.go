package registry

import (
	"errors"
	"syscall"

	"slipway/internal/db"
	"slipway/internal/oci"
)

// Classify turns faults that a person can mend into errors that say how: 507
// for a full disk, 503 for one that is read-only or failing. Others come back
// as they are.
func Classify(err error) error {
	var known *oci.Error
	if err == nil {
		return nil
	}
	if errors.As(err, &known) {
		// What was merely unavailable may be so for one of these reasons.
		if cause := errors.Unwrap(known); known.Code == oci.CodeUnavailable && cause != nil {
			if why := Classify(cause); errors.As(why, new(*oci.Error)) {
				return why
			}
		}
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), db.IsFull(err):
		return oci.NewError(oci.CodeInsufficientSpace, "the registry's disk is full: nothing of this request was kept; delete images and run 'slipway gc', or give it a larger disk, then try again").WithCause(err)
	case errors.Is(err, syscall.EROFS), db.IsReadOnly(err):
		return oci.NewError(oci.CodeUnavailable, "the registry's disk is read-only: nothing of this request was kept; its administrator has to mount it for writing").WithCause(err)
	case errors.Is(err, syscall.EIO), db.IsBroken(err):
		return oci.NewError(oci.CodeUnavailable, "the registry's disk reports errors or has damaged the database: nothing of this request was kept; its administrator has to look at the disk, then restart the registry").WithCause(err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return oci.NewError(oci.CodeUnavailable, "the registry has too many open files: try again later; its administrator may raise the limit").WithCause(err)
	case errors.Is(err, db.ErrClosed):
		return oci.NewError(oci.CodeUnavailable, "the registry is stopping: try again").WithCause(err)
	}
	return err
}
