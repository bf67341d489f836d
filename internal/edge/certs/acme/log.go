package acme

import (
	"context"
	"log/slog"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapCore writes what certmagic logs to the server's log. Its lines are for
// whoever looks for the cause of a failure: they come a level lower.
type zapCore struct{ log *slog.Logger }

func newZap(log *slog.Logger) *zap.Logger { return zap.New(zapCore{log.With("part", "acme")}) }

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelWarn
	case l == zapcore.WarnLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.Core.
func (c zapCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), level(l))
}

// With implements zapcore.Core.
func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{c.log.With(attributes(fields)...)}
}

// Check implements zapcore.Core.
func (c zapCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), level(e.Level), e.Message, attributes(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c zapCore) Sync() error { return nil }

// attributes leaves out what may be secret: keys of accounts and challenges.
func attributes(fields []zapcore.Field) []any {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(values)
	}
	list := make([]any, 0, 2*len(values.Fields))
	for key, value := range values.Fields {
		if lower := strings.ToLower(key); strings.Contains(lower, "key") || strings.Contains(lower, "token") || strings.Contains(lower, "account") {
			continue
		}
		list = append(list, key, value)
	}
	return list
}
