package rpc

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

// A plainClient calls without allocating.
type plainClient struct {
	c   *net.UnixConn
	buf [512]byte
}

func (p *plainClient) call(t testing.TB, msg []byte) {
	_, err := p.c.Write(msg)
	if err == nil {
		_, err = io.ReadFull(p.c, p.buf[:headerLen])
	}
	n := binary.BigEndian.Uint32(p.buf[8:])
	if err == nil {
		_, err = io.ReadFull(p.c, p.buf[:n])
	}
	if id := binary.BigEndian.Uint32(p.buf[:]); err != nil || id == uint32(callError) {
		t.Fatalf("%v, or an error of the call: %x", err, p.buf[:n])
	}
}

// signing returns a connection with session 1, and messages that have its P-256 key
// sign.
func signing(t testing.TB, path string) (p *plainClient, init, sign []byte) {
	t.Helper()
	p = &plainClient{c: initialized(t, path)}
	p.call(t, request(callOpenSession, func(w *writer) { w.uint64(1); w.uint64(6) }))
	body := exchange(t, p.c, request(callGenerateKeyPair, func(w *writer) {
		w.uint64(1)
		require.NoError(t, w.mechanism(&pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}))
		require.NoError(t, w.template(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)}))
		require.NoError(t, w.template(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_PRIVATE, false), pkcs11.Attr(pkcs11.CKA_SIGN, true)}))
	}))
	require.Zero(t, codeIn(t, body))
	key := binary.BigEndian.Uint64(body[len(body)-8:])
	init = request(callSignInit, func(w *writer) {
		w.uint64(1)
		require.NoError(t, w.mechanism(&pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}))
		w.uint64(key)
	})
	sign = request(callSign, func(w *writer) { w.uint64(1); w.bytes(make([]byte, 32)); w.room(make([]byte, 64)) })
	return p, init, sign
}
