package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal makes standard input a terminal at which somebody types.
func terminal(t *testing.T, typed string) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("skipped, there are no terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	input, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := person.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	was := os.Stdin
	os.Stdin = input
	t.Cleanup(func() {
		os.Stdin = was
		_ = input.Close()
		_ = person.Close()
	})
}

func TestTrustAsksAtATerminal(t *testing.T) {
	for typed, trusts := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "\x04": false} {
		t.Run(fmt.Sprintf("%q", typed), func(t *testing.T) {
			c, fingerprint := newTrustLine(t)
			terminal(t, typed)
			code, _, stderr := c.run("trust HOST --root DIR")
			if !strings.Contains(stderr, fingerprint) || !strings.Contains(stderr, "[y/N]") {
				t.Errorf("it does not ask: %s", stderr)
			}
			if (code == 0) != trusts || c.trusted() != trusts {
				t.Errorf("exit code %d, trusted %t: %s", code, c.trusted(), stderr)
			}
		})
	}
}
