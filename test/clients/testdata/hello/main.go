// Hello is the program inside the test images: it proves that a pulled image runs.
package main

import "fmt"

func main() { fmt.Println("hello from a pulled image") }
