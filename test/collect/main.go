// Command collect measures what collection costs those who push meanwhile: it
// fills a data folder with blobs that nothing needs, serves it, measures pushes
// alone and then pushes while all of that is collected, and compares.
//
//	make build && go run ./test/collect
//
// A tenth of the blobs are files, as larger layers are; the rest are small
// and live in the database.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"slipway/internal/bench"
	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/rest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	bin := flag.String("slipway-bin", "bin/slipway", "Slipway's binary")
	dir := flag.String("dir", ".build/collect", "folder for the data; what a run makes in it is deleted at the end")
	blobs := flag.Int("blobs", 100_000, "blobs that nothing needs")
	workload := flag.String("workload", "push-10k", "workload of the bench that pushes")
	flag.Parse()
	if err := run(ctx, *bin, *dir, *workload, *blobs); err != nil {
		fmt.Fprintln(os.Stderr, "collect:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, dir, workload string, blobs int) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	data, err := os.MkdirTemp(dir, "data-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	if err := fill(ctx, data, blobs); err != nil {
		return fmt.Errorf("fill %s: %w", data, err)
	}
	url, stop, err := serve(ctx, bin, data)
	if err != nil {
		return err
	}
	defer stop()
	b, err := bench.Open(ctx, bench.Config{URL: url, Duration: 10 * time.Second})
	if err != nil {
		return err
	}
	defer b.Close()

	alone, err := b.Measure(ctx, workload)
	if err != nil {
		return err
	}
	type outcome struct {
		freed rest.Freed
		took  time.Duration
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		began := time.Now()
		freed, err := collect(ctx, url)
		done <- outcome{freed, time.Since(began), err}
	}()
	var during []bench.Result
	var o outcome
	for running := true; running; {
		r, err := b.Measure(ctx, workload)
		if err != nil {
			return err
		}
		select {
		case o = <-done:
			running = false
		default:
		}
		if running || len(during) == 0 {
			during = append(during, r)
		}
	}
	if o.err != nil {
		return o.err
	}
	fmt.Println(bench.TableHeader)
	fmt.Println(alone.TableRow(), " alone")
	failures := alone.Errors
	worst := 0.0
	for _, r := range during {
		fmt.Println(r.TableRow(), " during collection")
		failures += r.Errors
		worst = max(worst, r.P99)
	}
	fmt.Printf("collected %d blobs in %s; p99 of pushes %.1f ms alone, at most %.1f ms during: ratio %.2f; failed pushes: %d\n",
		o.freed.Blobs, o.took.Round(time.Millisecond), alone.P99, worst, worst/alone.P99, failures)
	if o.freed.Blobs < int64(blobs) || failures > 0 {
		return errors.New("collection missed blobs, or pushes failed")
	}
	return nil
}

// fill makes blobs whose time is over: two hours old, and collection waits one.
func fill(ctx context.Context, data string, n int) (err error) {
	d, err := db.Open(ctx, filepath.Join(data, "slipway.db"), db.Options{Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	store, err := blob.OpenFS(data)
	if err != nil {
		return err
	}
	large := bytes.Repeat([]byte{'x'}, 20<<10)
	const perCommit = 1000
	for from := 0; from < n; from += perCommit {
		list := make([]meta.Blob, 0, perCommit)
		for i := from; i < min(from+perCommit, n); i++ {
			content := fmt.Appendf(nil, "blob %d ", i)
			b := meta.Blob{Content: content}
			if i%10 == 0 {
				content = append(content, large...)
				_, state, err := store.Append(ctx, "", 0, bytes.NewReader(content))
				if err != nil {
					return err
				}
				if b.Key, err = store.Commit(ctx, state, oci.FromBytes(oci.SHA256, content), int64(len(content))); err != nil {
					return err
				}
				b.Content = nil
			}
			b.Digest, b.Size = oci.FromBytes(oci.SHA256, content), int64(len(content))
			list = append(list, b)
		}
		if err := d.Update(ctx, func(tx *db.Tx) error {
			id, err := meta.EnsureRepository(tx, "garbage")
			if err != nil {
				return err
			}
			for _, b := range list {
				if _, err := meta.AddBlob(tx, b); err != nil {
					return err
				}
				if err := meta.Join(tx, id, b.Digest); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func serve(ctx context.Context, bin, data string) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, bin, "serve", "--listen", addr, "--data", data, "--log.access=false", "--gc.interval", "0")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	url = "http://" + addr
	for range 500 {
		if resp, err := http.Get(url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return url, stop, nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("%s did not become ready", bin)
}

func collect(ctx context.Context, url string) (rest.Freed, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/gc", nil)
	if err != nil {
		return rest.Freed{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return rest.Freed{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return rest.Freed{}, fmt.Errorf("collection answered %s: %s %w", resp.Status, body, err)
	}
	var report rest.Collection
	err = json.Unmarshal(body, &report)
	return report.Freed, err
}
