//go:build linux

package trust

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"slipway/test/harness"
)

// block is a piece of the guide that is run, and where.
type block struct{ where, text string }

// blocks are those with a comment before them that says where they run.
func blocks(t *testing.T, page string) (list []block) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)<!-- ((?:server|client)[^>]*) -->\n```\n(.*?)```").FindAllStringSubmatch(string(content), -1) {
		list = append(list, block{m[1], m[2]})
	}
	return list
}

// TestFiveMinutes follows the guide "On your LAN in five minutes" to the letter:
// what it says is run where it says.
func TestFiveMinutes(t *testing.T) {
	cleanEtc(t)
	host := newServer(t)
	names, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := names.WriteString("\n" + serverIP + " registry.lan\n"); err != nil {
		t.Fatal(err)
	}
	if err := names.Close(); err != nil {
		t.Fatal(err)
	}
	engine := harness.StartEngine(t, "--bridge=none", "--iptables=false", "--ip6tables=false")
	archive := filepath.Join(t.TempDir(), "root.tar")
	harness.Run(t, harness.Tool(t, "tar"), "--create", "--file", archive, "--directory", t.TempDir(), ".")
	engine.Docker("import", archive, "my-app").Run(t)

	dir := t.TempDir()
	path := "PATH=" + filepath.Dir(harness.Binary(t)) + ":" + os.Getenv("PATH")
	shell := func(env []string, text string, stdin string) harness.Command {
		return harness.Command{Path: "/bin/sh", Args: []string{"-euc", text}, Env: env, Dir: dir, Stdin: []byte(stdin)}
	}
	onServer, onClient := []string{path, "HOME=" + dir}, append(engine.Docker().Env, path)

	list := blocks(t, "../../docs/guide/lan.md")
	if len(list) < 8 || list[0].where != "server, background" {
		t.Fatalf("the guide has other blocks than this test knows: %+v", list)
	}
	var password, fingerprint string
	for _, b := range list {
		text := strings.ReplaceAll(b.text, "sha256:…", fingerprint)
		switch b.where {
		case "server, background":
			var running *harness.Client
			host.do(t, func() error { running = shell(onServer, "exec "+text, "").Go(t); return nil })
			harness.Until(t, "the server says how to use it", harness.CommandTimeout, func() error {
				out := running.Stdout()
				fingerprint = find(`--fingerprint (sha256:\S+)`, out)
				password = find(`shown this once:\s+(\S+)`, out)
				if fingerprint == "" || password == "" {
					return os.ErrNotExist
				}
				return nil
			})
		case "client":
			shell(onClient, text, "").Run(t)
		case "client, password on standard input":
			shell(onClient, text, password).Run(t)
		case "server":
			host.do(t, func() error {
				_, err := shell(onServer, text, "").Output()
				return err
			})
		default:
			t.Fatalf("nobody knows where %q is", b.where)
		}
	}
	// What the guide promises was more than exit codes.
	host.do(t, func() error {
		out, err := shell(onServer, "slipway audit --data ./data -o json", "").Output()
		for _, want := range []string{`"user:admin"`, `"team/my-app"`, `"` + clientIP + `"`, `user.create`, `token.create`} {
			if !strings.Contains(out, want) {
				t.Errorf("the audit log does not tell of %s:\n%s", want, out)
			}
		}
		return err
	})
}

func find(pattern, text string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}
