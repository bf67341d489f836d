package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"slipway/internal/remote"
)

// newProgress shows transfers on w: bars on a terminal, a line for each blob
// elsewhere, nothing when quiet. settle ends the display and may be called
// more than once.
func newProgress(w io.Writer, quiet bool) (p remote.Progress, settle func()) {
	if quiet {
		return nil, func() {}
	}
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		b := &bars{set: mpb.New(mpb.WithOutput(w), mpb.WithWidth(30)), w: w}
		return b, sync.OnceFunc(b.settle)
	}
	return &lines{w: w}, func() {}
}

var outcomeText = map[remote.Outcome]string{
	remote.Copied: "copied", remote.Mounted: "mounted", remote.Existed: "already there", remote.Failed: "failed",
}

func transferLine(digest string, size int64, o remote.Outcome) string {
	return shortDigest(digest) + "… " + humanSize(size) + " " + outcomeText[o]
}

// lines prints one line when a blob is done.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Begin(digest string, size int64) remote.Transfer {
	return &line{to: l, digest: digest, size: size}
}

type line struct {
	to     *lines
	digest string
	size   int64
}

func (*line) Add(int64) {}

func (l *line) Done(o remote.Outcome) {
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	fmt.Fprintln(l.to.w, transferLine(l.digest, l.size, o))
}

// bars shows a bar for each blob that is being transferred. The other blobs get
// a line below, once all is over.
type bars struct {
	set *mpb.Progress
	w   io.Writer

	mu    sync.Mutex
	later []string
}

func (b *bars) Begin(digest string, size int64) remote.Transfer {
	return &bar{in: b, digest: digest, size: size}
}

func (b *bars) settle() {
	b.set.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.later {
		fmt.Fprintln(b.w, l)
	}
}

type bar struct {
	in     *bars
	digest string
	size   int64
	shown  *mpb.Bar
}

func (b *bar) Add(n int64) {
	if b.shown == nil {
		b.shown = b.in.set.New(b.size,
			mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
			mpb.PrependDecorators(decor.Name(shortDigest(b.digest)+" ")),
			mpb.AppendDecorators(
				decor.OnComplete(decor.CountersKiloByte(" % .1f / % .1f"), " "+humanSize(b.size)+" "),
				decor.OnComplete(decor.AverageSpeed(decor.SizeB1000(0), " % .1f"), outcomeText[remote.Copied]),
			))
	}
	b.shown.IncrInt64(n)
}

func (b *bar) Done(o remote.Outcome) {
	switch {
	case b.shown != nil && o == remote.Copied:
		b.shown.SetCurrent(b.size)
		b.shown.SetTotal(b.size, true)
	case b.shown != nil:
		b.shown.Abort(true)
	}
	if b.shown == nil || o != remote.Copied {
		b.in.mu.Lock()
		defer b.in.mu.Unlock()
		b.in.later = append(b.in.later, transferLine(b.digest, b.size, o))
	}
}
