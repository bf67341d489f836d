// Slipway-bake reads the bake and compose files of one project; package reader
// explains it. It is started by Slipway, never by a person.
package main

import (
	"fmt"
	"os"

	"slipway/internal/bake/reader"
)

func main() {
	if err := reader.Run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "slipway-bake:", err)
		os.Exit(1)
	}
}
