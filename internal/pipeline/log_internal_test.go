package pipeline

import (
	"encoding/json"
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
