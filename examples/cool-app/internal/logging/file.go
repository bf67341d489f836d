// Package logging writes the service's log: JSON lines to standard output, for
// whoever runs the container, and to a file where one is set.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// New returns a logger that writes to out and, if file is not nil, to it.
func New(out io.Writer, file *File, level slog.Leveler, instance string) *slog.Logger {
	if file != nil {
		out = io.MultiWriter(out, file)
	}
	return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level})).With("instance", instance)
}

// File is a log file that can be opened again under its name, after logrotate
// or the like has renamed it. It may be used by many goroutines.
type File struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

// OpenFile opens the file to append to it, and makes it if it is not there.
func OpenFile(path string) (*File, error) {
	l := &File{path: path}
	return l, l.Reopen()
}

// Reopen goes on in the file that now has the name. If that fails, the file so
// far stays in use.
func (l *File) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("opening the log file: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.f
	l.f = f
	if old != nil {
		return old.Close()
	}
	return nil
}

// Write appends p. A full disk must not end the service: what cannot be written
// here still goes to standard output, so the error is dropped.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.f.Write(p)
	return len(p), nil
}

// Close closes the file; nothing may be written after it.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
