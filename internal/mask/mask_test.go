package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"slipway/internal/mask"
)

func masker(secrets ...string) *mask.Masker {
	list := make([][]byte, len(secrets))
	for i, s := range secrets {
		list[i] = []byte(s)
	}
	return mask.New(list)
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

func TestMask(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	cases := []struct{ name, secret, in, want string }{
		{"nothing", "hunter22", "all is well\n", "all is well\n"},
		{"whole", "hunter22", "hunter22", "***"},
		{"within", "hunter22", "pw=hunter22;\n", "pw=***;\n"},
		{"twice in a row", "hunter22", "hunter22hunter22 hunter22", "*** ***"},
		{"overlapping itself", "abab", "xababababx", "x***x"},
		{"prefix only", "hunter22", "hunter2 hunter", "hunter2 hunter"},
		{"false start", "aaab", "aaaaab", "aa***"},
		{"final line break of its file", "hunter22\n", "pw=hunter22;", "pw=***;"},
		{"lines", "first line\nab\nthird line\n", "third line, ab, first line", "***, ab, ***"},
		{"lines of Windows", "first line\r\nthird line\r\n", "first line\r\nthird line\n", "***\n"},
		{"indented lines", "{\n    \"key\": \"v\"\n}\n", "x    y \"key\": \"v\"", "x    y ***"},
		{"escaped query", "p&ss w/rd+é", "?q=" + url.QueryEscape("p&ss w/rd+é") + "&r", "?q=***&r"},
		{"escaped path", "p&ss w/rd+é", "/" + url.PathEscape("p&ss w/rd+é") + "/", "/***/"},
		{"escaped in lower case", "p&ss w/rd+é", strings.ToLower(url.QueryEscape("p&ss w/rd+é")), "***"},
		{"password of a URL", "p&ss@w/rd:é", url.UserPassword("u", "p&ss@w/rd:é").String() + "@h", "u:***@h"},
		{"JSON", "p\"ss\\<w>\n2", "\"" + quoted("p\"ss\\<w>\n2") + "\"", "\"***\""},
		{"base64 of itself", "hunter22!", "<" + b64([]byte("hunter22!")) + ">", "<***>"},
		{"base64, one before", "hunter22", b64([]byte("uhunter22")), b64([]byte("uhunter22"))[:2] + "***"},
		{"base64, two before", "hunter22", b64([]byte("u:hunter22")), b64([]byte("u:hunter22"))[:3] + "***" + tail("u:hunter22")},
		{"base64 for URLs", "???>>>~~~", base64.URLEncoding.EncodeToString([]byte("???>>>~~~")), "***"},
		{"mask in the secret", "a***b", "a***b axxb", "### axxb"},
		{"mask at its end", "aaa*", "aaa*aaa*", "###"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := masker(c.secret).String(c.in); got != c.want {
				t.Errorf("%q became %q, want %q", c.in, got, c.want)
			}
		})
	}
	if got := masker("abcdef", "cdefgh", "efghij").String("abcdefghij-cdefgh"); got != "***-***" {
		t.Errorf("overlapping secrets became %q", got)
	}
}

// tail is what the base64 of text keeps after its last whole six bits.
func tail(text string) string {
	b := base64.StdEncoding.EncodeToString([]byte(text))
	return b[len(text)*8/6:]
}

func TestShort(t *testing.T) {
	m := masker("abc", "abcd", "", "  abc \n", "\n\n\n\n\n", "a\nb\nc")
	if got, want := m.Short(), []int{0, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("short: %v, want %v", got, want)
	}
	if got := m.String("abc a b"); got != "abc a b" {
		t.Errorf("%q", got)
	}
	if got := m.String("a\nb\nc"); got != "***" {
		t.Errorf("%q", got)
	}
}

func TestWriterIsLive(t *testing.T) {
	var out bytes.Buffer
	w := masker("hunter22").Writer(&out)
	for _, step := range []struct{ in, out string }{
		{"line\n", "line\n"}, {"no line break", "no line break"}, {"pw: hun", "pw: "}, {"k\n", "hunk\n"},
		{"hunter2", ""}, {"2", "***"}, {"hunter22", ""}, {" ", " "}, {"", ""}, {"h", ""}, {"h", "h"},
	} {
		out.Reset()
		if n, err := w.Write([]byte(step.in)); n != len(step.in) || err != nil {
			t.Fatal(n, err)
		}
		if out.String() != step.out {
			t.Errorf("after %q: %q, want %q", step.in, out.String(), step.out)
		}
	}
	out.Reset()
	if err := w.Close(); err != nil || out.String() != "h" {
		t.Errorf("close: %q, %v", out.String(), err)
	}
}

func TestFlushShowsOnlyTheBeginning(t *testing.T) {
	var out bytes.Buffer
	w := masker("hunter22").Writer(&out)
	_, _ = w.Write([]byte("pw: hunt"))
	if _ = w.Flush(); out.String() != "pw: hunt" {
		t.Errorf("flushed: %q", out.String())
	}
	_, _ = w.Write([]byte("er22\n"))
	if out.String() != "pw: hunt***\n" {
		t.Errorf("in the end: %q", out.String())
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestWriterReportsErrors(t *testing.T) {
	full := errors.New("disk full")
	w := masker("hunter22").Writer(broken{full})
	if _, err := w.Write([]byte("x")); !errors.Is(err, full) {
		t.Error(err)
	}
	if _, err := mask.Strip(broken{full}).Write([]byte("x")); !errors.Is(err, full) {
		t.Error(err)
	}
	w = masker("hunter22").Writer(short{})
	if _, err := w.Write([]byte("xyz")); err == nil {
		t.Error("a short write went unnoticed")
	}
}

type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) - 1, nil }

func TestLargeSecrets(t *testing.T) {
	key := strings.Repeat("0123456789abcdef", 40_000)
	m := masker(key)
	if got := m.String("x" + key + "y" + key[:len(key)-1]); got != "x***y"+key[:len(key)-1] {
		t.Errorf("%d bytes became %d", 2*len(key)+1, len(got))
	}
}

// chunks cuts text at random places.
func chunks(t *rapid.T, text []byte) [][]byte {
	var list [][]byte
	for len(text) > 0 {
		n := rapid.IntRange(1, min(len(text), 9)).Draw(t, "n")
		list, text = append(list, text[:n]), text[n:]
	}
	return list
}

// Small alphabets make overlaps likely; "*" and "#" attack the mask itself.
var alphabets = []string{"ab", "ab*", "a*#b\n", "abc\r\n %", "é\xff\x80a", "aQ=\"\\/+&"}

func TestNoSecretWhateverTheChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.SampledFrom(alphabets).Draw(t, "alphabet")
		bytesOf := func(from, to int) *rapid.Generator[[]byte] {
			return rapid.SliceOfN(rapid.SampledFrom([]byte(alphabet)), from, to)
		}
		secrets := rapid.SliceOfN(bytesOf(0, 9), 1, 4).Draw(t, "secrets")
		var text []byte
		for range rapid.IntRange(0, 8).Draw(t, "parts") {
			secret := rapid.SampledFrom(secrets).Draw(t, "secret")
			around := bytesOf(0, 4).Draw(t, "around")
			switch rapid.IntRange(0, 3).Draw(t, "form") {
			case 0:
				text = append(text, around...)
			case 1:
				text = append(text, secret...)
			case 2:
				text = append(text, base64.StdEncoding.EncodeToString(slices.Concat(around, secret, around))...)
			case 3:
				text = append(text, url.QueryEscape(string(secret))...)
			}
		}
		m := mask.New(secrets)
		want := m.String(string(text))

		var out, flushed bytes.Buffer
		w, f := m.Writer(&out), m.Writer(&flushed)
		for _, chunk := range chunks(t, text) {
			if _, err := w.Write(bytes.Clone(chunk)); err != nil {
				t.Fatal(err)
			}
			_, _ = f.Write(chunk)
			if rapid.Bool().Draw(t, "flush") {
				_ = f.Flush()
			}
		}
		_ = w.Close()
		_ = f.Close()
		if out.String() != want {
			t.Errorf("%q with secrets %q: %q in chunks, %q in one", text, secrets, out.String(), want)
		}
		for i, secret := range secrets {
			if slices.Contains(m.Short(), i) {
				continue
			}
			core := bytes.TrimSpace(secret)
			for _, got := range []string{want, flushed.String()} {
				if strings.Contains(got, string(core)) || strings.Contains(got, url.QueryEscape(string(core))) {
					t.Errorf("%q with secrets %q became %q", text, secrets, got)
				}
			}
		}
	})
}

// The masker against its definition: hidden is what lies in any occurrence.
func FuzzMask(f *testing.F) {
	f.Add([]byte("hunter22"), []byte("swordfish\nxyzzy"), []byte("pw=hunter22 sword swordfish aHVudGVyMjI="), uint8(3))
	f.Add([]byte("abab"), []byte("baba"), []byte("abababab"), uint8(1))
	f.Add([]byte("****"), []byte("####"), []byte("****#### [masked]"), uint8(2))
	f.Fuzz(func(t *testing.T, a, b, text []byte, size uint8) {
		m := mask.New([][]byte{a, b})
		want := m.String(string(text))
		var out bytes.Buffer
		w := m.Writer(&out)
		for chunk := range slices.Chunk(text, int(size)+1) {
			_, _ = w.Write(chunk)
		}
		_ = w.Close()
		if out.String() != want {
			t.Errorf("%q in chunks, %q in one", out.String(), want)
		}
		for i, secret := range [][]byte{a, b} {
			if core := bytes.TrimSpace(secret); !slices.Contains(m.Short(), i) && strings.Contains(want, string(core)) {
				t.Errorf("%q is in %q", core, want)
			}
		}
		if m.String(string(text)) != want {
			t.Error("a second time is different")
		}
	})
}
