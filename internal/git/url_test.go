package git

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for s, want := range map[string]URL{
		"https://host/a.git":                 {Remote: "https://host/a.git", Scheme: "https", Host: "host"},
		"HTTPS://Host:8443/A.git#v1:sub/dir": {Remote: "https://host:8443/A.git", Scheme: "https", Host: "host:8443", Ref: "v1", Subdir: "sub/dir"},
		"https://host/a.git#:sub/../../x":    {Remote: "https://host/a.git", Scheme: "https", Host: "host", Subdir: "x"},
		"https://u:p@host/a":                 {Remote: "https://host/a", Scheme: "https", Host: "host", user: "u", password: "p"},
		"https://host/a?branch=b&subdir=c":   {Remote: "https://host/a", Scheme: "https", Host: "host", Ref: "refs/heads/b", Subdir: "c"},
		"https://host/a?tag=b":               {Remote: "https://host/a", Scheme: "https", Host: "host", Ref: "refs/tags/b"},
		"http://[::1]:80/a":                  {Remote: "http://[::1]:80/a", Scheme: "http", Host: "[::1]:80"},
		"ssh://git@host:2222/a.git#main":     {Remote: "ssh://git@host:2222/a.git", Scheme: "ssh", Host: "host:2222", Ref: "main", user: "git"},
		"git@host:owner/a.git#feature/x:sub": {Remote: "git@host:owner/a.git", Scheme: "ssh", Host: "host", Ref: "feature/x", Subdir: "sub", user: "git"},
		"github.com/owner/a#v1":              {Remote: "https://github.com/owner/a", Scheme: "https", Host: "github.com", Ref: "v1"},
		"https://host/a#refs/pull/3/head":    {Remote: "https://host/a", Scheme: "https", Host: "host", Ref: "refs/pull/3/head"},
	} {
		got, err := ParseURL(s)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v\nwant %+v", s, got, err, want)
		}
		if !IsURL(s) && !strings.HasPrefix(s, "HTTPS") {
			t.Errorf("%s is not taken for an address", s)
		}
	}
	for _, s := range []string{
		"", ".", "/srv/repo", "./repo", "repo", "C:\\repo", "host:path",
		"file:///srv/repo", "FILE:///srv/repo", "ext::sh -c id", "ext::sh://x", "git://host/a", "ftp://host/a", "fd::3", "rsync://x/y",
		"https:///a", "https://", "https://-host/a", "ssh://-oProxyCommand=id/a", "ssh://-oProxyCommand=id@host/a", "-oX@host:path", "git@-host:path", "git@host:-path",
		"https://host/a#--upload-pack=id", "https://host/a#a..b", "https://host/a#a b", "https://host/a#x.lock", "https://host/a#@{1}", "https://host/a#a//b",
		"https://host/a?upload-pack=id", "https://host/a\n", "https://u:topsecret@ho st/a", "ssh://u:topsecret@/x",
	} {
		_, err := ParseURL(s)
		if !errors.Is(err, ErrURL) {
			t.Errorf("%q: got %v", s, err)
		} else if strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%q: the error shows the password: %v", s, err)
		}
	}
}

func TestResolveRelative(t *testing.T) {
	for _, c := range []struct{ base, relative, want string }{
		{"https://host/o/a.git", "../b.git", "https://host/o/b.git"},
		{"https://host/o/a.git", "../../p/b", "https://host/p/b"},
		{"https://host/o/a.git/", "./b", "https://host/o/a.git/b"},
		{"https://host/o/a.git", "https://other/b", "https://other/b"},
		{"git@host:o/a.git", "../b.git", "git@host:o/b.git"},
		{"git@host:a.git", "../b.git", "git@host:b.git"},
		{"ssh://git@host:22/o/a", "../b", "ssh://git@host:22/o/b"},
		{"https://host/a", "../../b", ""},
		{"https://host/a", "../../../b", ""},
		{"https://host:8443/a", "../../b", ""},
		{"https://host/a", "/srv/b", ""},
	} {
		base, err := ParseURL(c.base)
		if err != nil {
			t.Fatal(err)
		}
		got, err := base.resolveRelative(c.relative)
		if got.Remote != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s from %s: got %q, %v, want %q", c.relative, c.base, got.Remote, err, c.want)
		}
	}
}

func TestPrivate(t *testing.T) {
	for a, want := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "172.16.0.1": true, "192.168.1.1": true, "169.254.169.254": true, "100.64.0.1": true,
		"0.0.0.0": true, "255.255.255.255": true, "224.0.0.1": true, "198.18.0.1": true, "::1": true, "::": true, "fe80::1": true,
		"fd00::1": true, "::ffff:127.0.0.1": true, "64:ff9b::7f00:1": true, "2002:7f00:1::": true, "ff02::1": true,
		"93.184.216.34": false, "1.1.1.1": false, "2606:4700:4700::1111": false, "172.32.0.1": false,
	} {
		if got := private(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: got %v", a, got)
		}
	}
	for _, s := range []string{"http://127.0.0.1/a", "https://localhost/a", "https://[::1]/a", "git@127.0.0.1:a", "https://169.254.169.254/latest", "https://2130706433/a", "https://0x7f.1/a"} {
		u, err := ParseURL(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Fetch(t.Context(), Options{URL: u, Dir: t.TempDir()}); err == nil || strings.Contains(err.Error(), "git ls-remote") {
			t.Errorf("%s: git was started: %v", s, err)
		}
	}
	u, err := LocalURL(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(t.Context(), Options{URL: u, Dir: t.TempDir(), AllowPrivate: true}); !errors.Is(err, ErrURL) {
		t.Errorf("a repository on this machine: %v", err)
	}
}
