package shim

import (
	"fmt"
	"os"
)

// Main is the whole program. It returns an exit code only where it did not
// become another program.
func Main(args []string) int {
	var code int
	var err error
	if len(args) == 2 && args[1] == "init" {
		code, err = initMain()
	} else {
		code, err = runtimeMain(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slipway-runc: "+err.Error())
	}
	return code
}
