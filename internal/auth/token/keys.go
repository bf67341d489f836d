package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// keysFile lies in the data folder, for its owner only.
const keysFile = "token-keys.json"

// key signs from Created until the next key is made, and is accepted until the
// last token that it signed has expired.
type key struct {
	ID      string             `json:"id"`
	Created time.Time          `json:"created"`
	Retired *time.Time         `json:"retired,omitempty"`
	Private ed25519.PrivateKey `json:"private"`
}

// keys are those of the file. They are few.
type keys struct {
	path   string
	rotate time.Duration // how long a key signs
	accept time.Duration // how long it is accepted after that
	now    func() time.Time
	log    *slog.Logger

	mu   sync.RWMutex
	list []key // the last one signs
}

func openKeys(folder string, rotate, accept time.Duration, now func() time.Time, log *slog.Logger) (*keys, error) {
	k := &keys{path: filepath.Join(folder, keysFile), rotate: rotate, accept: accept, now: now, log: log}
	info, err := os.Stat(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, k.renew()
	}
	if err != nil {
		return nil, fmt.Errorf("open the keys for access tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the keys for access tokens, %s, can be read by others (mode %04o): if nobody did, run chmod 600 on it; else remove it, and new ones are made", k.path, info.Mode().Perm())
	}
	content, err := os.ReadFile(k.path)
	if err != nil {
		return nil, fmt.Errorf("open the keys for access tokens: %w", err)
	}
	var stored struct{ Keys []key }
	if err := json.Unmarshal(content, &stored); err != nil {
		return nil, fmt.Errorf("the keys for access tokens, %s, cannot be read: remove the file, and new ones are made; clients get new tokens by themselves", k.path)
	}
	for _, one := range stored.Keys {
		if len(one.Private) != ed25519.PrivateKeySize || one.ID != keyID(one.Private) {
			return nil, fmt.Errorf("the keys for access tokens, %s, are damaged: remove the file, and new ones are made; clients get new tokens by themselves", k.path)
		}
	}
	k.list = stored.Keys
	if len(k.list) == 0 {
		return k, k.renew()
	}
	return k, nil
}

func keyID(private ed25519.PrivateKey) string {
	sum := sha256.Sum256(private.Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:8])
}

// signing is the key that signs now. If it is time for a new one and that
// cannot be stored, the old one goes on.
func (k *keys) signing() key {
	k.mu.RLock()
	last := k.list[len(k.list)-1]
	k.mu.RUnlock()
	if k.now().Sub(last.Created) < k.rotate {
		return last
	}
	if err := k.renew(); err != nil {
		k.log.Error("the key for access tokens is not changed", "err", err)
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.list[len(k.list)-1]
}

// public finds the key of an id that is still accepted.
func (k *keys) public(id string) (ed25519.PublicKey, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, one := range k.list {
		if one.ID == id && !k.expired(one) {
			return one.Private.Public().(ed25519.PublicKey), true
		}
	}
	return nil, false
}

func (k *keys) expired(one key) bool {
	return one.Retired != nil && k.now().Sub(*one.Retired) > k.accept
}

// renew adds a key and drops those that are accepted no longer. It is on the
// disk before it signs: a token must not outlive a crash by a lost key.
func (k *keys) renew() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if n := len(k.list); n > 0 && now.Sub(k.list[n-1].Created) < k.rotate {
		return nil // another was first
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key for access tokens: %w", err)
	}
	var list []key
	for _, one := range k.list {
		if one.Retired == nil {
			one.Retired = &now
		}
		if !k.expired(one) {
			list = append(list, one)
		}
	}
	list = append(list, key{ID: keyID(private), Created: now, Private: private})
	content, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		return fmt.Errorf("store the keys for access tokens: %w", err)
	}
	if err := writeDurably(k.path, content); err != nil {
		return fmt.Errorf("store the keys for access tokens: %w", err)
	}
	k.list = list
	return nil
}

// writeDurably replaces a file, which only its owner may read, as a whole.
func writeDurably(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
