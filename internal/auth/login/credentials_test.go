package login

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"slipway/internal/oci"
)

func TestCredentialsShowNothing(t *testing.T) {
	c := Credentials{Basic, "anna", "hidden"}
	if s := fmt.Sprintf("%v %s %+v %#v %v %v", c, c, c, c, &c, c.LogValue()); strings.Contains(s, "hidden") {
		t.Error(s)
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"", "Basic YTpi", "basic  YTpi ", "Bearer abc.def", "Basic YTpi\n", "Bearer a b", "Digest x", "Basic", "Basic Og=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c, err := ParseAuthorization([]string{header})
		if err != nil {
			if !oci.HasCode(err, oci.CodeUnauthorized) || c != (Credentials{}) {
				t.Errorf("%q: %v, %v", header, c, err)
			}
			return
		}
		switch c.Scheme {
		case Bearer:
			if c.User != "" || c.Secret == "" || strings.ContainsAny(c.Secret, " \t\r\n\"") || !strings.HasSuffix(strings.TrimRight(header, " "), c.Secret) {
				t.Errorf("%q: %#v %q", header, c, c.Secret)
			}
		case Basic:
			if strings.Contains(c.User, ":") || !strings.Contains(header, base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Secret))) {
				t.Errorf("%q: %#v %q", header, c, c.Secret)
			}
		default:
			t.Errorf("%q is no credentials", header)
		}
	})
}
