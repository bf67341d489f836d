package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"slipway/internal/oci"
)

// TestLastByteWaitsForTheVerdict: all bytes have arrived, but nobody knows yet
// whether they are true.
func TestLastByteWaitsForTheVerdict(t *testing.T) {
	content := []byte("all of it")
	verdict := errors.New("it is false")
	for name, outcome := range map[string]error{"true": nil, "false": verdict} {
		t.Run(name, func(t *testing.T) {
			spool, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			f := newFill(oci.FromBytes(oci.SHA256, content))
			f.change(func() { f.began, f.size, f.spool = true, int64(len(content)), spool })
			b, ok := f.follow(context.Background())
			if !ok {
				t.Fatal("no reader")
			}
			defer b.Close()
			in := &recorder{f: f, from: bytes.NewReader(content)}
			if n, err := io.Copy(io.Discard, in); err != nil || n != int64(len(content)) {
				t.Fatal(n, err)
			}
			early := make([]byte, 100)
			n, err := b.Read(early)
			if err != nil || string(early[:n]) != "all of i" {
				t.Fatalf("before the verdict: %q, %v", early[:n], err)
			}
			f.change(func() {
				f.done, f.err = true, outcome
				if outcome == nil {
					f.ready = f.size
				}
			})
			f.leave()
			rest, err := io.ReadAll(b)
			if !errors.Is(err, outcome) || (outcome == nil) != (string(rest) == "t") {
				t.Errorf("after the verdict: %q, %v", rest, err)
			}
			if err := b.Whole(context.Background()); !errors.Is(err, outcome) {
				t.Errorf("whole: %v", err)
			}
			_ = b.Close()
			_ = b.Close()
			if _, err := spool.Stat(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the spool is not closed: %v", err)
			}
		})
	}
}

// TestNothingToHoldBack: of an empty blob nobody can follow a part.
func TestNothingToHoldBack(t *testing.T) {
	spool, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	f := newFill(oci.FromBytes(oci.SHA256, nil))
	f.change(func() { f.began, f.size, f.spool = true, 0, spool })
	if _, ok := f.follow(context.Background()); ok {
		t.Error("an empty blob is served before it is verified")
	}
}

func TestParseChallenge(t *testing.T) {
	for header, want := range map[string][3]string{ // scheme, realm, service
		`Bearer realm="https://a.example/token",service="a b"`:            {"Bearer", "https://a.example/token", "a b"},
		`bearer Realm=https://a.example/token, service=x , scope="r:a,b"`: {"bearer", "https://a.example/token", "x"},
		`Bearer realm="quoted \"word\"", service="a,b=c"`:                 {"Bearer", `quoted "word"`, "a,b=c"},
		`Bearer realm="first",realm="second"`:                             {"Bearer", "first", ""},
		`Basic realm="here"`:                                              {"Basic", "here", ""},
		`Basic`:                                                           {"Basic", "", ""},
		`Bearer realm="unterminated`:                                      {"Bearer", "unterminated", ""},
		`Bearer ,,,`:                                                      {"Bearer", "", ""},
		`Bearer junk`:                                                     {"Bearer", "", ""},
		``:                                                                {"", "", ""},
	} {
		scheme, p := parseChallenge(header)
		if got := [3]string{scheme, p["realm"], p["service"]}; got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestPublicName(t *testing.T) {
	for name, want := range map[string]bool{
		"registry.example.com": true, "quay.io": true,
		"localhost": false, "team": false, "10.0.0.1": false, "169.254.169.254": false, "1.2.3": false,
		"printer.local": false, "metadata.google.internal": false, ".io": false, "x.": false,
	} {
		if got := publicName(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
