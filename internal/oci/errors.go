package oci

import (
	"errors"
	"net/http"
)

// Code is an error code as clients see it in the body of a failed request.
type Code string

// Codes of the specification ("Error Codes"), and below them the ones that
// Slipway adds where none of those fits.
const (
	CodeBlobUnknown         Code = "BLOB_UNKNOWN"
	CodeBlobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	CodeBlobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	CodeDigestInvalid       Code = "DIGEST_INVALID"
	CodeManifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	CodeManifestInvalid     Code = "MANIFEST_INVALID"
	CodeManifestUnknown     Code = "MANIFEST_UNKNOWN"
	CodeNameInvalid         Code = "NAME_INVALID"
	CodeNameUnknown         Code = "NAME_UNKNOWN"
	CodeSizeInvalid         Code = "SIZE_INVALID"
	CodeUnauthorized        Code = "UNAUTHORIZED"
	CodeDenied              Code = "DENIED"
	CodeUnsupported         Code = "UNSUPPORTED"
	CodeTooManyRequests     Code = "TOOMANYREQUESTS"

	CodeTagInvalid        Code = "TAG_INVALID"
	CodeRangeInvalid      Code = "RANGE_INVALID"
	CodePageSizeInvalid   Code = "PAGINATION_NUMBER_INVALID" // as registry:2 calls it
	CodeBlobInUse         Code = "BLOB_IN_USE"
	CodeUploadBusy        Code = "BLOB_UPLOAD_BUSY"
	CodeManifestTooLarge  Code = "MANIFEST_TOO_LARGE"
	CodeInsufficientSpace Code = "INSUFFICIENT_STORAGE"
	CodeUnavailable       Code = "UNAVAILABLE"
	CodeBadUpstream       Code = "UPSTREAM_INVALID"     // a mirrored registry answered what cannot be true
	CodeUpstreamDown      Code = "UPSTREAM_UNAVAILABLE" // it does not answer
	CodeUnknown           Code = "UNKNOWN"
)

var statusOf = map[Code]int{
	CodeBlobUnknown:         http.StatusNotFound,
	CodeBlobUploadInvalid:   http.StatusBadRequest,
	CodeBlobUploadUnknown:   http.StatusNotFound,
	CodeDigestInvalid:       http.StatusBadRequest,
	CodeManifestBlobUnknown: http.StatusNotFound,
	CodeManifestInvalid:     http.StatusBadRequest,
	CodeManifestUnknown:     http.StatusNotFound,
	CodeNameInvalid:         http.StatusBadRequest,
	CodeNameUnknown:         http.StatusNotFound,
	CodeSizeInvalid:         http.StatusBadRequest,
	CodeUnauthorized:        http.StatusUnauthorized,
	CodeDenied:              http.StatusForbidden,
	CodeUnsupported:         http.StatusMethodNotAllowed,
	CodeTooManyRequests:     http.StatusTooManyRequests,
	CodeTagInvalid:          http.StatusBadRequest,
	CodeRangeInvalid:        http.StatusRequestedRangeNotSatisfiable,
	CodePageSizeInvalid:     http.StatusBadRequest,
	CodeBlobInUse:           http.StatusConflict,
	CodeUploadBusy:          http.StatusConflict,
	CodeManifestTooLarge:    http.StatusRequestEntityTooLarge,
	CodeInsufficientSpace:   http.StatusInsufficientStorage,
	CodeUnavailable:         http.StatusServiceUnavailable,
	CodeBadUpstream:         http.StatusBadGateway,
	CodeUpstreamDown:        http.StatusServiceUnavailable,
	CodeUnknown:             http.StatusInternalServerError,
}

// Error is a failure that a client is told about. Message says what happened,
// to what, and what to do next; Detail is for programs.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
	cause   error
	status  int // 0: that of the code
}

// NewError makes an error of the given code.
func NewError(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// WithDetail adds what a program can read, such as the digests that are missing.
func (e *Error) WithDetail(detail any) *Error { e.Detail = detail; return e }

// WithStatus answers with another HTTP status than that of the code.
func (e *Error) WithStatus(status int) *Error { e.status = status; return e }

// WithCause keeps the error that led to this one, for the log; clients never see it.
func (e *Error) WithCause(err error) *Error { e.cause = err; return e }

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, oci.NewError(code, "")) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Status is the HTTP status that belongs to the error.
func (e *Error) Status() int {
	if e.status != 0 {
		return e.status
	}
	if s, ok := statusOf[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// HasCode reports whether err is, or wraps, an Error of that code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
