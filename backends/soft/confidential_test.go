package soft

import (
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"runtime"
	"testing"
	"unsafe"

	"github.com/go-cryptoki/cryptoki/internal/keys"
)

// marked is how much of the stack is watched: all that is cleared, less the frames
// of the functions that watch.
const (
	marked     = stackLen - 1<<10
	sealMarked = sealStackLen - 1<<10
	stackMark  = 0xa5
)

//go:noinline
func markStack() uintptr {
	var b [marked]byte
	for i := range b {
		b[i] = stackMark
	}
	hold(b[:])
	return uintptr(unsafe.Pointer(&b))
}

//go:noinline
func markSealStack() uintptr {
	var b [sealMarked]byte
	for i := range b {
		b[i] = stackMark
	}
	hold(b[:])
	return uintptr(unsafe.Pointer(&b))
}

// untouched is how many marks are left from low on.
//
//go:noinline
//go:nocheckptr
func untouched(low uintptr, n int) int {
	var here byte
	above := int(uintptr(unsafe.Pointer(&here)) - low)
	for i := range n {
		if *(*byte)(unsafe.Add(unsafe.Pointer(&here), i-above)) != stackMark {
			return i
		}
	}
	return n
}

// TestStacks looks how deep those functions go that are called by confidential and
// by confidentialSeal: not so deep that something is left, and the stack is not
// copied, even if the garbage collector looks at it.
func TestStacks(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	rsaValues, err := keys.PrivateAttributes(rsaKey)
	must(t, err)
	ecValues, err := keys.PrivateAttributes(ecKey)
	must(t, err)
	ring := newKeyring(make([]byte, tokenKeyLen))
	data := make([]byte, 16<<10)
	sealed := ring.sealSecret("a", data, nil)
	seals := map[string]func(){
		"nothing": func() {},
		"derive":  func() { derive(ring.tokenKey, contextPublic) },
		"seal":    func() { seal(nil, aead(derive(ring.tokenKey, contextPublic)), data, data) },
		"open":    func() { open(aead(derive(ring.tokenKey, contextSecret+"a")), sealed, nil) },
		"make block": func() {
			block(derive(ring.tokenKey, contextElement)).Encrypt(data[:aes.BlockSize], data[:aes.BlockSize])
		},
		"collect": runtime.GC,
	}
	all := map[string]func(){
		"Argon2id":  func() { KDF{MemoryKiB: 64, Passes: 2, Threads: 4}.key([]byte("1234"), [16]byte{}) },
		"parse RSA": func() { keys.PrivateKey(rsaValues) },
		"parse EC":  func() { keys.PrivateKey(ecValues) },
	}
	for name, f := range seals {
		all[name] = f
		left, moved := -1, true
		confidentialSeal(func() {
			var here byte
			before := uintptr(unsafe.Pointer(&here))
			low := markSealStack()
			f()
			left, moved = untouched(low, sealMarked), before != uintptr(unsafe.Pointer(&here))
		})
		t.Logf("%s: %d bytes of %d", name, sealMarked-left, sealMarked)
		if left < 1<<10 || moved {
			t.Errorf("%s: %d of %d bytes of a small stack are not touched, moved: %t", name, left, sealMarked, moved)
		}
	}
	for name, f := range all {
		left, moved := -1, true
		confidential(func() {
			var here byte
			before := uintptr(unsafe.Pointer(&here))
			low := markStack()
			f()
			left, moved = untouched(low, marked), before != uintptr(unsafe.Pointer(&here))
		})
		t.Logf("%s: %d bytes of %d", name, marked-left, marked)
		if left < 1<<10 || moved {
			t.Errorf("%s: %d of %d bytes of a stack are not touched, moved: %t", name, left, marked, moved)
		}
	}
}
