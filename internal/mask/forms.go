package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// maxEncoded bounds the secrets of which encoded forms are known: each form
// costs memory in proportion, and a tool that prints so much prints it raw.
const maxEncoded = 64 << 10

// forms lists what stands for a secret in a log. All but the lines begin and
// end with the secret's first and last byte that is no blank: a file's final
// line break is rarely printed with the secret.
func forms(secret []byte) [][]byte {
	core := bytes.TrimSpace(secret)
	list := [][]byte{core, StripControl(nil, core)}
	for line := range bytes.Lines(bytes.ReplaceAll(core, []byte("\r"), []byte("\n"))) {
		list = append(list, bytes.TrimSpace(line))
	}
	if len(core) <= maxEncoded {
		list = append(list, base64Forms(core)...)
		list = append(list, escapedForms(string(core))...)
	}
	seen := map[string]bool{}
	kept := list[:0]
	for _, form := range list {
		if len(bytes.TrimSpace(form)) >= MinSecret && !seen[string(form)] {
			seen[string(form)] = true
			kept = append(kept, form)
		}
	}
	return kept
}

// base64Forms lists the text that a secret becomes at each of its three
// alignments in a longer text that is encoded as a whole, such as
// "user:password". The characters at either end that also depend on the
// neighbours are left out; they tell at most four bits.
func base64Forms(secret []byte) [][]byte {
	var list [][]byte
	for before := range 3 {
		text := append(make([]byte, before), secret...)
		first, end := (before*8+5)/6, len(text)*8/6
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			list = append(list, []byte(encoding.EncodeToString(text)[first:end]))
		}
	}
	return list
}

var percentHex = regexp.MustCompile(`%[0-9A-F]{2}`)

// escapedForms lists a secret as part of a URL, with upper- and lower-case
// hex, and as part of a JSON string.
func escapedForms(secret string) [][]byte {
	query := url.QueryEscape(secret)
	escaped := []string{
		query,
		strings.ReplaceAll(query, "+", "%20"),
		url.PathEscape(secret),
		url.UserPassword("", secret).String()[1:], // a password has its own set of plain characters
	}
	var list [][]byte
	for _, form := range escaped {
		list = append(list, []byte(form), []byte(percentHex.ReplaceAllStringFunc(form, strings.ToLower)))
	}
	for _, html := range []bool{true, false} {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(html)
		if encoder.Encode(secret) == nil {
			list = append(list, bytes.Trim(out.Bytes(), "\n")[1:out.Len()-2])
		}
	}
	return list
}
