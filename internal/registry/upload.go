package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// UploadStatus is how far an upload has come.
type UploadStatus struct {
	ID   string
	Size int64 // bytes that are durable; the next chunk starts here
}

// Body is what a request brings: at most Length bytes if that is known.
type Body struct {
	io.Reader
	Length int64             // -1: unknown (chunked transfer encoding)
	Range  *oci.ContentRange // nil: wherever the upload stands
}

// StartUpload opens an upload whose bytes will be hashed with algorithm a.
func (r *Registry) StartUpload(ctx context.Context, repository string, a oci.Algorithm) (UploadStatus, error) {
	if err := r.space.check(0); err != nil {
		return UploadStatus{}, err
	}
	room, err := r.room(ctx, repository, "")
	if err != nil {
		return UploadStatus{}, err
	}
	if err := room.check(1); err != nil {
		return UploadStatus{}, err
	}
	id, err := r.newUploadID(repository, a)
	return UploadStatus{ID: id}, err
}

// UploadStatus returns the durable offset of an upload.
func (r *Registry) UploadStatus(ctx context.Context, repository, id string) (UploadStatus, error) {
	u, _, err := r.findUpload(ctx, repository, id)
	if err == nil && u.State != "" {
		f, openErr := r.Blobs.OpenUpload(ctx, u.State)
		if openErr != nil {
			return UploadStatus{}, r.lost(ctx, u, openErr)
		}
		err = f.Close()
	}
	return UploadStatus{id, u.Size}, err
}

// lost ends an upload whose bytes the store no longer has, and passes other
// errors on. They are gone when a closing request failed, or the server died,
// after the bytes had left the upload and before the row named the blob.
func (r *Registry) lost(ctx context.Context, u meta.Upload, err error) error {
	if u.State == "" || !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	u.State, u.Tail, u.HashState, u.Cancelled = "", nil, nil, true
	if err := r.DB.Update(context.WithoutCancel(ctx), func(tx *db.Tx) error {
		_, err := meta.SaveUpload(tx, u)
		return err
	}); err != nil {
		r.Log.Warn("an upload without bytes could not be ended", "repo", u.Repository, "upload", u.ID, "err", err)
	}
	return oci.NewError(oci.CodeBlobUploadUnknown, "the upload was cut off while it was being finished: start a new one with POST").WithCause(err)
}

// AppendUpload adds a chunk and returns once it is durable. If the client goes
// away halfway, what has arrived is kept and the upload can go on from there.
func (r *Registry) AppendUpload(ctx context.Context, repository, id string, body Body) (UploadStatus, error) {
	unlock, err := r.uploads.lock(ctx, id)
	if err != nil {
		return UploadStatus{}, err
	}
	defer unlock()
	u, a, err := r.findUpload(ctx, repository, id)
	if err != nil {
		return UploadStatus{}, err
	}
	w, err := r.receive(ctx, u, a, "", body)
	if w == nil {
		return UploadStatus{id, u.Size}, r.lost(ctx, u, err)
	}
	return r.save(context.WithoutCancel(ctx), w, err)
}

// save makes an upload's progress durable: bytes, then the row. bodyErr is
// what the client's part ended with; it is returned when all else is well.
func (r *Registry) save(ctx context.Context, w *incoming, bodyErr error) (UploadStatus, error) {
	before := UploadStatus{w.ID, w.Size - w.received}
	if w.received == 0 && bodyErr != nil {
		return before, bodyErr
	}
	if w.State != "" {
		if err := r.Blobs.Sync(ctx, w.State); err != nil {
			// The kernel may now believe that lost pages are written: this
			// upload cannot be trusted again.
			_ = r.Blobs.Abort(ctx, w.State)
			return before, fmt.Errorf("sync upload: %w", err)
		}
	}
	var err error
	if w.HashState, err = w.hasher.State(); err != nil {
		return before, err
	}
	var saved bool
	err = r.DB.Update(ctx, func(tx *db.Tx) (err error) {
		saved, err = meta.SaveUpload(tx, w.Upload)
		return err
	})
	if err == nil && !saved {
		err = errBusy()
	}
	if err != nil {
		return before, err
	}
	return UploadStatus{w.ID, w.Size}, bodyErr
}

// FinishUpload adds the last chunk, if any, verifies the digest and makes the
// blob a member of the repository. The blob is durable once it returns. A
// wrong digest leaves the upload as it was before.
func (r *Registry) FinishUpload(ctx context.Context, repository, id string, d oci.Digest, body Body) error {
	unlock, err := r.uploads.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	u, a, err := r.findUpload(ctx, repository, id)
	if err != nil {
		return err
	}
	if u.Version == 0 {
		a = d.Algorithm() // nothing hashed yet
	}
	w, err := r.receive(ctx, u, a, d, body)
	if w == nil {
		return r.lost(ctx, u, err)
	}
	ctx = context.WithoutCancel(ctx) // the bytes are here: finish even if the client does not wait
	if err != nil {
		_, err = r.save(ctx, w, err)
		return err
	}
	if u.Version == 0 && w.Size == 0 {
		// Perhaps the closing request once more, since its answer was lost.
		if there, err := r.use(ctx, repository, d); err != nil || there {
			return err
		}
	}
	return r.lost(ctx, u, r.finish(ctx, repository, w, d))
}

// PutBlob receives a whole blob in one request.
func (r *Registry) PutBlob(ctx context.Context, repository string, d oci.Digest, body Body) error {
	w, err := r.receive(ctx, meta.Upload{Repository: repository}, d.Algorithm(), d, body)
	if w == nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		_ = r.Blobs.Abort(ctx, w.State)
		if oci.HasCode(err, oci.CodeBlobUploadInvalid) {
			err = oci.NewError(oci.CodeBlobUploadInvalid, fmt.Sprintf("the body ended after %d bytes: nothing was stored; send the blob again", w.received)).WithCause(err)
		}
		return err
	}
	return r.finish(ctx, repository, w, d)
}

// CancelUpload ends an upload and frees its bytes.
func (r *Registry) CancelUpload(ctx context.Context, repository, id string) error {
	unlock, err := r.uploads.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	u, _, err := r.findUpload(ctx, repository, id)
	if err != nil {
		return err
	}
	state := u.State
	u.State, u.Tail, u.HashState, u.Cancelled = "", nil, nil, true
	var saved bool
	if err := r.DB.Update(ctx, func(tx *db.Tx) (err error) {
		saved, err = meta.SaveUpload(tx, u) // the row stays until the id expires
		return err
	}); err != nil {
		return err
	}
	if !saved {
		return errBusy()
	}
	return r.Blobs.Abort(ctx, state)
}

// incoming is an upload while a request adds to it.
type incoming struct {
	meta.Upload
	hasher   *oci.Hasher
	received int64
	began    bool     // the store knew nothing of the upload before
	lost     blob.Key // of a blob of the same digest whose bytes are gone
}

// receive reads the body into the upload's tail or the blob store, hashing as
// it goes. Nothing is durable yet. The result is nil if nothing was read; else
// it holds all that arrived, also when the body ended in an error. d is what the
// upload is to become, if that is known.
func (r *Registry) receive(ctx context.Context, u meta.Upload, a oci.Algorithm, d oci.Digest, body Body) (*incoming, error) {
	if err := checkPlace(u.Size, body); err != nil {
		return nil, err
	}
	if err := r.space.check(max(body.Length, 0)); err != nil {
		return nil, err
	}
	fits := room{bytes: -1}
	if body.Length < 0 || u.Size+body.Length > r.InlineLimit { // few bytes are not worth two questions
		var err error
		if fits, err = r.room(ctx, u.Repository, d); err != nil {
			return nil, err
		}
	}
	if err := fits.check(u.Size + max(body.Length, 0)); err != nil {
		return nil, err
	}
	hasher, err := oci.ResumeHasher(a, u.HashState)
	if err != nil {
		return nil, err
	}
	w := &incoming{Upload: u, hasher: hasher, began: u.State == ""}
	src := &source{r: body.Reader, space: &r.space, limit: -1, fits: fits, before: u.Size}
	if body.Range != nil {
		src.limit = body.Range.Length()
	}
	err = r.store(ctx, w, src)
	if src.refused != nil {
		err = src.refused // what arrived is of no use
	}
	if err != nil && (src.err == nil || src.refused != nil) {
		if w.began {
			_ = r.Blobs.Abort(context.WithoutCancel(ctx), w.State)
		}
		return nil, err
	}
	w.Size += w.received
	if src.err != nil {
		return w, src.err
	}
	if body.Range != nil && w.received != body.Range.Length() {
		return w, oci.NewError(oci.CodeSizeInvalid, fmt.Sprintf("the body has %d bytes but Content-Range spans %d", w.received, body.Range.Length()))
	}
	return w, nil
}

// store puts the bytes of src where they belong. An error that src itself
// gave is also in src.err.
func (r *Registry) store(ctx context.Context, w *incoming, src *source) error {
	var read []byte
	var err error
	if w.State == "" {
		// Few bytes stay in memory and go into the row.
		buf := make([]byte, 0, r.InlineLimit+1)
		buf = append(buf, w.Tail...)
		room := buf[len(w.Tail):cap(buf)]
		n, readErr := io.ReadFull(src, room)
		if readErr != nil {
			w.hasher.Write(room[:n])
			w.Tail, w.received = buf[:len(w.Tail)+n], int64(n)
			if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
				return nil
			}
			return readErr
		}
		read = buf[:len(w.Tail)+n]
		w.hasher.Write(room[:n])
		w.received = int64(n)
	}
	hashed := &tee{r: src, h: w.hasher}
	var n int64
	if w.State == "" {
		n, w.State, err = r.Blobs.Append(ctx, "", 0, io.MultiReader(bytes.NewReader(read), hashed))
		n -= int64(len(read))
		w.Tail = nil
	} else {
		n, w.State, err = r.Blobs.Append(ctx, w.State, w.Size, hashed)
	}
	w.received += n
	if n != hashed.n && (err == nil || src.err != nil) {
		src.err = nil
		return fmt.Errorf("the store took %d of %d bytes: %w", n, hashed.n, io.ErrShortWrite)
	}
	return err
}

// finish verifies and publishes what an upload holds.
func (r *Registry) finish(ctx context.Context, repository string, w *incoming, d oci.Digest) error {
	got, err := r.digestOf(ctx, w, d.Algorithm())
	if err == nil && got != d {
		err = oci.NewError(oci.CodeDigestInvalid, fmt.Sprintf("the %d bytes received have digest %s, not %s: nothing was stored; send the blob again", w.Size, got, d)).
			WithDetail(map[string]string{"expected": d.String(), "received": got.String()})
	}
	if err != nil {
		if w.began {
			_ = r.Blobs.Abort(ctx, w.State)
		}
		return err
	}
	done, err := r.publishExisting(ctx, repository, w, d)
	if err != nil || done {
		if done {
			_ = r.Blobs.Abort(ctx, w.State)
		}
		return err
	}
	b := meta.Blob{Digest: d, Size: w.Size, Content: w.Tail}
	if w.State != "" {
		if b.Key, err = r.Blobs.Commit(ctx, w.State, d, w.Size); err != nil {
			return err
		}
	}
	added := false
	var a allowance
	err = r.DB.Update(ctx, func(tx *db.Tx) error {
		return r.admit(tx, repository, &a, func(id meta.RepoID) (err error) {
			if added, err = meta.AddBlob(tx, b); err != nil {
				return err
			}
			if !added && w.lost != "" {
				if added, err = meta.HealBlob(tx, b, w.lost); err != nil {
					return err
				}
			}
			return publish(tx, id, w, d)
		})
	})
	if err == nil {
		a.warn(r.Log)
	}
	if errors.Is(err, errQuota) && b.Key != "" {
		_ = r.Blobs.Delete(ctx, b.Key) // no row names it, for certain
	}
	// After a failed commit the bytes stay: the row may yet turn out to be on
	// disk. Collection finds out.
	if err == nil && !added && b.Key != "" {
		_ = r.Blobs.Delete(ctx, b.Key)
	}
	if err == nil && added && w.lost != "" {
		r.Log.Warn("the bytes of a blob were lost; a push brought them back", "repo", repository, "digest", d, "lost", w.lost)
	}
	return err
}

// publishExisting needs no new bytes where another push brought them already.
func (r *Registry) publishExisting(ctx context.Context, repository string, w *incoming, d oci.Digest) (done bool, err error) {
	key, there, err := meta.KeyOf(r.DB.Read(ctx), d)
	if err != nil || !there {
		return false, err
	}
	if key != "" && !r.whole(ctx, key, w.Size) {
		w.lost = key
		return false, nil
	}
	var a allowance
	err = r.DB.Update(ctx, func(tx *db.Tx) error {
		_, there, err := meta.BlobSize(tx, d)
		if err != nil || !there {
			done = false
			return err
		}
		if _, err := meta.AddBlob(tx, meta.Blob{Digest: d}); err != nil { // only counts as use
			return err
		}
		done = true
		return r.admit(tx, repository, &a, func(id meta.RepoID) error { return publish(tx, id, w, d) })
	})
	if done && err == nil {
		a.warn(r.Log)
	}
	return done && err == nil, err
}

// whole reports whether the store still has all bytes of a blob. What a disk
// or a person lost, the next push brings back.
func (r *Registry) whole(ctx context.Context, k blob.Key, size int64) bool {
	f, err := r.Blobs.Open(ctx, k)
	if err != nil {
		return !errors.Is(err, blob.ErrNotFound) // in doubt it is there
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	return err != nil || end == size
}

func publish(tx *db.Tx, id meta.RepoID, w *incoming, d oci.Digest) error {
	if err := meta.Join(tx, id, d); err != nil || w.Version == 0 {
		return err
	}
	_, err := meta.RemoveUpload(tx, w.ID, w.Version)
	return err
}

// digestOf is what was hashed while receiving, or, if the closing request
// names another algorithm than the upload was opened with, one more reading.
func (r *Registry) digestOf(ctx context.Context, w *incoming, a oci.Algorithm) (oci.Digest, error) {
	if w.hasher.Algorithm() == a {
		return w.hasher.Digest(), nil
	}
	if w.State == "" {
		return oci.FromBytes(a, w.Tail), nil
	}
	f, err := r.Blobs.OpenUpload(ctx, w.State)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := oci.NewHasher(a)
	if _, err := io.Copy(h, io.LimitReader(f, w.Size)); err != nil {
		return "", err
	}
	return h.Digest(), nil
}

func (r *Registry) findUpload(ctx context.Context, repository, id string) (meta.Upload, oci.Algorithm, error) {
	opened, a, err := r.checkUploadID(repository, id)
	if err != nil {
		return meta.Upload{}, "", err
	}
	u, found, err := meta.FindUpload(r.DB.Read(ctx), id)
	if err != nil {
		return meta.Upload{}, "", err
	}
	if !found {
		u = meta.Upload{ID: id, Repository: repository}
	}
	if u.Cancelled || u.Repository != repository || (!found && r.DB.Now().Sub(opened) > r.UploadExpiry) {
		return meta.Upload{}, "", oci.NewError(oci.CodeBlobUploadUnknown, "the upload was cancelled or has expired: start a new one with POST")
	}
	return u, a, nil
}

func checkPlace(offset int64, body Body) error {
	if body.Range == nil {
		return nil
	}
	if body.Range.First != offset {
		return oci.NewError(oci.CodeRangeInvalid, fmt.Sprintf("the chunk starts at byte %d but the upload has %d bytes: go on from byte %d", body.Range.First, offset, offset)).
			WithDetail(map[string]int64{"offset": offset})
	}
	if body.Length >= 0 && body.Length != body.Range.Length() {
		return oci.NewError(oci.CodeSizeInvalid, fmt.Sprintf("Content-Length is %d but Content-Range spans %d bytes", body.Length, body.Range.Length()))
	}
	return nil
}

// source reads a request's body, remembers how it ended, and keeps an eye on
// the disk and on the quota.
type source struct {
	r       io.Reader
	space   *space
	limit   int64 // -1: none
	fits    room  // for the upload, of which before bytes were here
	before  int64
	n       int64
	due     int64 // next check of the disk
	err     error
	refused error // err, if the quota is what ended it
}

const spaceCheckEvery = 16 << 20

func (s *source) Read(p []byte) (int, error) {
	if s.n >= s.due {
		s.due = s.n + spaceCheckEvery
		if err := s.space.check(0); err != nil {
			s.err = err
			return 0, err
		}
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if over := s.fits.check(s.before + s.n); over != nil {
		s.err, s.refused = over, over
		return 0, over
	}
	if s.limit >= 0 && s.n > s.limit {
		n -= int(s.n - s.limit)
		err = oci.NewError(oci.CodeSizeInvalid, fmt.Sprintf("the body goes on after the %d bytes that Content-Range spans", s.limit))
		s.n = s.limit
	}
	if err != nil && !errors.Is(err, io.EOF) {
		var known *oci.Error
		if !errors.As(err, &known) {
			err = oci.NewError(oci.CodeBlobUploadInvalid, fmt.Sprintf("the body ended after %d bytes: what arrived is kept; ask the upload for its offset and go on from there", s.n)).WithCause(err)
		}
		s.err = err
	}
	return n, err
}

type tee struct {
	r io.Reader
	h *oci.Hasher
	n int64
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.h.Write(p[:n])
	t.n += int64(n)
	return n, err
}
