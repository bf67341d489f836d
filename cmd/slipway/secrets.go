package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// readSecret reads a line. What ends it is no part of the secret.
func readSecret(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read a password from standard input: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("standard input has no password: give it as a line")
	}
	return line, nil
}

// askSecret asks on the terminal, without showing what is typed.
func askSecret(cmd *cobra.Command, prompt string) (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", usageError{errors.New("nobody is there to type a password: give it on standard input, with --password-stdin or --login-password-stdin")}
	}
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	secret, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err == nil && len(secret) == 0 {
		err = errors.New("the password is empty")
	}
	return string(secret), err
}

// newPassword makes one that nobody can guess, of letters that are told apart.
func newPassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789" // 32 of them
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails
	for i, b := range random {
		random[i] = letters[b%32]
	}
	return string(random[:])
}
