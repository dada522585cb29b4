package rpc

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/stretchr/testify/require"
)

func softModule(t testing.TB) cryptoki.Module {
	t.Helper()
	token, err := soft.New(&pal.Mem{}, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}, NoPIN: true})
	require.NoError(t, err)
	m, err := cryptoki.NewModule(nil, token)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.InitToken(t.Context(), 1, []byte("87654321"), "fuzz"))
	return m
}

// request is a whole message of a call.
func request(id callID, build func(*writer)) []byte {
	w := &writer{version: 2, ulong: 8}
	w.begin(id, calls[id].request)
	if build != nil {
		build(w)
	}
	return w.finish(7)
}

func hello() []byte {
	return append([]byte{2}, request(callInitialize, func(w *writer) {
		w.bytes([]byte(handshake))
		w.byte(0)
		w.bytes([]byte{0})
	})...)
}

// Any bytes from a client: the server answers or hangs up, and the next client
// is served.
func FuzzServer(f *testing.F) {
	m := softModule(f)
	s := NewServer(m, &Options{MaxMessage: 1 << 16, MessageTime: time.Second})
	f.Cleanup(func() { s.Close() })
	open := request(callOpenSession, func(w *writer) { w.uint64(1); w.uint64(6) })
	f.Add(hello())
	f.Add(append(hello(), open...))
	ec := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7})}
	for id := callID(1); id < callMax; id++ {
		b := append(hello(), open...)
		b = append(b, request(id, func(w *writer) {
			// Arguments that suit many calls, from the signature.
			for i := 0; i < len(calls[id].request); i++ {
				switch calls[id].request[i] {
				case 'u':
					w.uint64(1)
				case 'y':
					w.byte(1)
				case 's':
					w.padded("label", 32)
				case 'z':
					w.array([]byte("label"))
				case 'M':
					w.mechanism(&pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA})
				case 'a', 'f':
					switch i++; calls[id].request[i-1 : i+1] {
					case "ay":
						w.bytes([]byte("some bytes"))
					case "aA":
						w.template(ec)
					case "fA":
						w.wants([]wanted{{pkcs11.CKA_LABEL, 100}, {pkcs11.CKA_CLASS, 8}})
					default:
						w.uint32(100)
					}
				}
			}
		})...)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.ServeConn(server) }()
		go io.Copy(io.Discard, client)
		client.SetWriteDeadline(time.Now().Add(wait))
		client.Write(b)
		client.Close()
		select {
		case <-done:
		case <-time.After(2 * wait):
			t.Fatal("the server does not let go of a client that is gone")
		}
	})
}

// Any bytes from a server: the client's calls fail or succeed, and end.
func FuzzClient(f *testing.F) {
	answer := func(id callID, build func(*writer)) []byte {
		w := &writer{version: 2, ulong: 8}
		w.begin(id, calls[id].response)
		if build != nil {
			build(w)
		}
		return w.b[headerLen:]
	}
	f.Add(byte(2), []byte(nil))
	f.Add(byte(0), answer(callError, func(w *writer) { w.uint64(uint64(pkcs11.CKR_DEVICE_ERROR)) }))
	f.Add(byte(2), answer(callGetSlotList, func(w *writer) { w.ulongs([]uint64{1, 2}) }))
	f.Add(byte(2), answer(callGetTokenInfo, func(w *writer) { w.tokenInfo(&pkcs11.TokenInfo{Label: "x", UTCTime: time.Unix(1e9, 0)}) }))
	f.Add(byte(2), answer(callGetAttributeValue, func(w *writer) {
		w.template(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "x"), pkcs11.Attr(pkcs11.CKA_CLASS, 3),
			pkcs11.Attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true)})})
		w.uint64(0)
	}))
	f.Add(byte(ownVersion), answer(callFindObjects, func(w *writer) { w.ulongs([]uint64{7}) }))
	f.Add(byte(2), answer(callSign, func(w *writer) { w.bytes(make([]byte, 64)) }))
	f.Add(byte(1), answer(callDeriveKey, func(w *writer) { w.uint64(7) }))
	f.Fuzz(func(t *testing.T, version byte, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		c, err := NewClient(ctx, func(context.Context) (io.ReadWriteCloser, error) {
			client, server := net.Pipe()
			go answerAll(server, version, body)
			return client, nil
		}, nil)
		if err != nil {
			return
		}
		defer c.Close()
		c.Slots(ctx, true)
		c.TokenInfo(ctx, 1)
		c.Mechanisms(ctx, 1)
		s, err := c.OpenSession(ctx, 1, 6)
		if err != nil {
			s = &clientSession{c: c, l: c.link, handle: 1}
		}
		if s.(*clientSession).l == nil {
			return
		}
		s.GetAttributeValue(ctx, 1, pkcs11.Template{{Type: pkcs11.CKA_LABEL}, {Type: pkcs11.CKA_CLASS}, {Type: pkcs11.CKA_WRAP_TEMPLATE}})
		s.FindObjects(ctx, make([]pkcs11.ObjectHandle, 3))
		s.Sign(ctx, nil, make([]byte, 10))
		s.DeriveKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: &pkcs11.ECDH1DeriveParams{}}, 1, nil)
		s.GenerateRandom(ctx, make([]byte, 10))
		if ctx.Err() != nil {
			t.Fatal("a call did not end")
		}
	})
}

// answerAll answers C_Initialize as it should be and every other call with body.
func answerAll(rw net.Conn, version byte, body []byte) {
	defer rw.Close()
	b := make([]byte, 1)
	if _, err := io.ReadFull(rw, b); err != nil {
		return
	}
	rw.Write([]byte{version})
	head := make([]byte, headerLen)
	for {
		if _, err := io.ReadFull(rw, head); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head[4:]) + binary.BigEndian.Uint32(head[8:])
		req := make([]byte, n)
		if _, err := io.ReadFull(rw, req); err != nil {
			return
		}
		out := body
		if callID(binary.BigEndian.Uint32(req)) == callInitialize {
			w := &writer{}
			w.begin(callInitialize, "")
			out = w.b[headerLen:]
		}
		binary.BigEndian.PutUint32(head[4:], 0)
		binary.BigEndian.PutUint32(head[8:], uint32(len(out)))
		if _, err := rw.Write(append(head[:headerLen:headerLen], out...)); err != nil {
			return
		}
	}
}
