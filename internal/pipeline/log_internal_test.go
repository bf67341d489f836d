package pipeline

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
)

// Secrets that look like the builder's own words leave its status readable.
func TestMaskStatus(t *testing.T) {
	l := newLog([][]byte{[]byte("true"), []byte("2026"), []byte("1234"), []byte("a\"b<c>d")}, nil, time.Now)
	raw := l.maskStatus([]byte(`{"vertexes":[{"digest":"sha256:1234","name":"RUN echo a\"b<c>d 1234","cached":true,"started":"2026-01-02T03:04:05Z"}],
		"statuses":[{"id":"sending","vertex":"sha256:1234","current":123456,"total":2026,"timestamp":"2026-01-02T03:04:05Z"}],"logs":[{"data":"cw=="}]}`))
	var st client.SolveStatus
	if err := json.Unmarshal(raw, &st); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	v, s := st.Vertexes[0], st.Statuses[0]
	if v.Name != "RUN echo *** ***" || v.Digest != "sha256:1234" || !v.Cached || v.Started.Year() != 2026 {
		t.Errorf("the vertex is %+v", v)
	}
	if s.ID != "sending" || s.Current != 123456 || s.Total != 2026 || len(st.Logs) != 0 {
		t.Errorf("the status is %+v, its logs %v", s, st.Logs)
	}
}

// What others wrote, such as a cause or an error, neither imitates the log nor
// steers a terminal.
func TestEveryLineHasATime(t *testing.T) {
	var got []string
	l := newLog([][]byte{[]byte("hunter2")}, func(e Event) { got = append(got, e.Section+e.Text()) }, func() time.Time { return time.Unix(0, 0) })
	l.Section("Run %s", "1\n== Finished")
	l.Linef("app", "asked for: %s", "me\r\n00:00:00.000 == Publishing\x1b[2J, hun\x1b[0mter2\n")
	want := []string{"Run 1 == Finished", "[app] asked for: me", "[app] 00:00:00.000 == Publishing, ***"}
	if !slices.Equal(got, want) {
		t.Errorf("the log is %q, want %q", got, want)
	}
	for line := range strings.Lines(string(l.Text())) {
		if !strings.HasPrefix(line, "00:00:00.000 == Run") && !strings.HasPrefix(line, "00:00:00.000 [app] ") {
			t.Errorf("the kept log has the line %q", line)
		}
	}
}
