package mask_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"slipway/internal/mask"
)

// A build's log, in the 32 KiB pieces that io.Copy makes, and ten secrets that
// it does not contain.
func logAndSecrets() ([]byte, [][]byte) {
	var log bytes.Buffer
	for i := 0; log.Len() < 32<<10; i++ {
		fmt.Fprintf(&log, "#12 %d.%03d Get:%d http://deb.debian.org/debian trixie/main amd64 libexample%d amd64 1.%d-2+b1 [%d kB]\n", i/10, i*37%1000, i, i*7, i, i*13)
	}
	var secrets [][]byte
	for i := range 10 {
		secrets = append(secrets, fmt.Appendf(nil, "%c%s%d", 'A'+i*3, "Xk29vQz!+/"[i:], i*7919))
	}
	secrets = append(secrets, []byte(strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", 26)))
	return log.Bytes(), secrets
}

func BenchmarkWriter(b *testing.B) {
	log, secrets := logAndSecrets()
	w := mask.New(secrets).Writer(io.Discard)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		_, _ = w.Write(log)
	}
}

func BenchmarkWriterThatHides(b *testing.B) {
	log, secrets := logAndSecrets()
	copy(log[len(log)/2:], secrets[3])
	w := mask.New(secrets).Writer(io.Discard)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		_, _ = w.Write(log)
	}
}

func BenchmarkStrip(b *testing.B) {
	log, _ := logAndSecrets()
	w := mask.Strip(io.Discard)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		_, _ = w.Write(log)
	}
}

func BenchmarkStripColours(b *testing.B) {
	log, _ := logAndSecrets()
	log = bytes.ReplaceAll(log, []byte("Get:"), []byte("\x1b[32mGet:\x1b[0m"))
	w := mask.Strip(io.Discard)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		_, _ = w.Write(log)
	}
}

func BenchmarkNew(b *testing.B) {
	_, secrets := logAndSecrets()
	for b.Loop() {
		mask.New(secrets)
	}
}
