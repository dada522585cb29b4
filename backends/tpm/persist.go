package tpm

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Handles of persistent keys. Others keep to 0x81000000 to 0x8100ffff for storage
// keys and to 0x81010000 to 0x810100ff for endorsement keys. TCG Registry of
// Reserved TPM 2.0 Handles, 2.3.
const (
	firstPersistent uint32 = 0x81010100
	lastPersistent  uint32 = 0x810101ff
)

// Persist makes a private key of the token persistent in the TPM: it need not be
// loaded any more to be used, which saves a few commands on a resource manager and
// when many keys are in use. A TPM has room for a handful, and every change of
// them wears its memory. It takes the owner's authorization, which most TPMs have
// empty: see Options.OwnerAuth. The record keeps the key's blob, so that a handle
// that somebody removes is no loss.
//
// When there is no room left, the error wraps CKR_DEVICE_MEMORY, and the key works
// as before. A key that is persistent already stays where it is. Destroy frees the
// handle.
func (t *Token) Persist(ctx context.Context, o driver.Object) error {
	from, err := t.own(o)
	if err != nil {
		return err
	}
	if from.key == nil || !from.isStored() {
		return fmt.Errorf("tpm: only keys of the token that are in the TPM can be made persistent: %w", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	if from.key.persistent != 0 {
		return nil
	}
	// Announced keys are settled whether it has worked or not.
	defer t.tidyTPM(ctx)
	handle, err := t.persist(ctx, from.key)
	if err != nil {
		return err
	}
	return t.setPersistent(from.id, handle)
}

// setPersistent notes the handle of a key in its record.
func (t *Token) setPersistent(id objectID, handle uint32) error {
	release, err := t.exclusive()
	if err != nil {
		return err
	}
	defer release()
	if err := t.refresh(true); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.mayChange(); err != nil {
		return err
	}
	now := t.objects[id]
	if now == nil || now.key == nil || t.records[now.record] == nil {
		return fmt.Errorf("tpm: the key is destroyed: %w", pkcs11.CKR_OBJECT_HANDLE_INVALID)
	}
	next := *now
	blob := *now.blob
	blob.persistent = handle
	next.blob = &blob
	if err := next.setKey(); err != nil {
		return err
	}
	next.self = next.kind()
	return t.saveObject(&next)
}

// persist makes a key persistent and returns its handle. The caller has to call
// tidyTPM when a record has it, or cannot have it.
func (t *Token) persist(ctx context.Context, k *tpmKey) (handle uint32, err error) {
	tried := false
	err = t.use(ctx, k, func(c *channel, e entity) error {
		taken, err := c.handles(firstPersistent)
		if err != nil {
			return err
		}
		if tried {
			// The TPM may have done what we have not heard of.
			if handle = c.persistent(taken, k.name); handle != 0 {
				return nil
			}
		}
		for h := firstPersistent; h <= lastPersistent; h++ {
			if slices.Contains(taken, h) {
				continue
			}
			if err := c.t.announceOne(persisting{h, k.name}); err != nil {
				return err
			}
			tried = true
			if err := c.evict(e, h); err != nil {
				return err
			}
			handle = h
			c.unload(k)
			return nil
		}
		return fmt.Errorf("all handles from %#x to %#x are taken: %w", firstPersistent, lastPersistent, pkcs11.CKR_DEVICE_MEMORY)
	})
	return handle, failed("make a key persistent", err)
}

// persistent returns the handle at which a key is, or 0.
func (c *channel) persistent(taken []uint32, name []byte) uint32 {
	for _, h := range taken {
		if h < firstPersistent || h > lastPersistent {
			continue
		}
		if pub, err := c.readPublic(h); err == nil && bytes.Equal(pub.name, name) {
			return h
		}
	}
	return 0
}
