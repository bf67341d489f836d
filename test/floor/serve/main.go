// Command serve runs a floor server, for a bench to be pointed at by hand:
//
//	go run ./test/floor/serve --listen 127.0.0.1:5001 --data DIR
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"

	"slipway/test/floor"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5001", "address to listen on")
	data := flag.String("data", "", "folder to keep the content in; must be empty")
	flag.Parse()
	if err := run(*listen, *data); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(listen, data string) error {
	if data == "" {
		return fmt.Errorf("--data DIR is needed")
	}
	s, err := floor.New(data)
	if err != nil {
		return err
	}
	return http.ListenAndServe(listen, s)
}
