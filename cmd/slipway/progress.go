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
		b := &bars{set: mpb.New(mpb.WithOutput(w), mpb.WithWidth(30))}
		return b, sync.OnceFunc(b.set.Wait)
	}
	return &lines{w: w}, func() {}
}

var outcomeText = map[remote.Outcome]string{
	remote.Copied: "copied", remote.Mounted: "mounted", remote.Existed: "already there", remote.Failed: "failed",
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
	fmt.Fprintf(l.to.w, "%s… %s %s\n", shortDigest(l.digest), humanSize(l.size), outcomeText[o])
}

// bars shows a bar for each blob that is being transferred. Blobs that are not
// transferred get a line above the bars.
type bars struct{ set *mpb.Progress }

func (b *bars) Begin(digest string, size int64) remote.Transfer {
	return &bar{set: b.set, digest: digest, size: size}
}

type bar struct {
	set    *mpb.Progress
	digest string
	size   int64
	shown  *mpb.Bar
}

func (b *bar) Add(n int64) {
	if b.shown == nil {
		b.shown = b.set.New(b.size,
			mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
			mpb.PrependDecorators(decor.Name(shortDigest(b.digest)+" ")),
			mpb.AppendDecorators(
				decor.OnComplete(decor.CountersKiloByte(" % .1f / % .1f"), " "+humanSize(b.size)+" "),
				decor.OnComplete(decor.EwmaSpeed(decor.SizeB1000(0), " % .1f", 30), outcomeText[remote.Copied]),
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
		fmt.Fprintf(b.set, "%s %s %s\n", shortDigest(b.digest), humanSize(b.size), outcomeText[o])
	}
}
