package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// errMessage is the error of a message that does not hold what its signature
// says. On the wire it is CKR_DEVICE_ERROR, as in p11-kit.
var errMessage = fmt.Errorf("%w: malformed message", pkcs11.CKR_DEVICE_ERROR)

// null is the length of a byte array that is a NULL pointer.
const null = 0xffffffff

// A reader takes a message apart. After the first error it returns zeros; err
// tells. The slices it returns are parts of the message.
type reader struct {
	b       []byte
	version uint8
	own     bool // our own dialect of version 2
	err     error

	// ulong is the size of a CK_ULONG where values travel as bytes: 8, or 4 once
	// a template has shown that the client is a 32-bit program.
	ulong *uint8
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errMessage, what)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || len(r.b) < n {
		r.fail("it is too short")
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// array reads a length and so many bytes; nil is a NULL pointer.
func (r *reader) array() []byte {
	n := r.uint32()
	if n == null || r.err != nil {
		return nil
	}
	if n > math.MaxInt32 || int(n) > len(r.b) {
		r.fail("an array is longer than the message")
		return nil
	}
	return r.take(int(n))
}

// bytes reads an ay: nil if the pointer is NULL, with the length that was given
// with it.
func (r *reader) bytes() (b []byte, n uint32) {
	if r.byte() == 0 {
		return nil, r.uint32()
	}
	b = r.array()
	if b == nil && r.err == nil {
		b = []byte{}
	}
	return b, uint32(len(b))
}

// A room is what the client has for the output of a call.
type room struct {
	null bool // the client asks for the size
	size uint32
}

// room reads an fy. A length of 0 is a NULL pointer, all ones a pointer with a
// length of 0.
func (r *reader) room() room {
	switch n := r.uint32(); n {
	case 0:
		return room{null: true}
	case null:
		return room{}
	default:
		return room{size: n}
	}
}

// version reads a v.
func (r *reader) cryptoki() pkcs11.Version { return pkcs11.Version{Major: r.byte(), Minor: r.byte()} }

// padded reads an s of n bytes, without the padding.
func (r *reader) padded(n int) string {
	b := r.array()
	if r.err == nil && len(b) != n {
		r.fail("a text has the wrong length")
		return ""
	}
	return strings.TrimRight(string(b), " \x00")
}

// ulongs reads an au: the numbers, or only how many there are.
func (r *reader) ulongs(limit int) (list []uint64, n uint32) {
	valid := r.byte() != 0
	n = r.uint32()
	if !valid || r.err != nil {
		return nil, n
	}
	if uint64(n)*8 > uint64(len(r.b)) || int64(n) > int64(limit) {
		r.fail("a list is longer than it can be")
		return nil, 0
	}
	list = make([]uint64, n)
	for i := range list {
		list[i] = r.uint64()
	}
	return list, n
}

// end checks that the message has been read to its end.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("bytes are left over")
	}
	return r.err
}

// A writer builds a message, after room for its header.
type writer struct {
	b       []byte
	version uint8
	own     bool
	ulong   uint8 // 8, or 4 for a 32-bit peer

	out []byte // see output
}

// A message is a call that is being made or answered. Its buffers are used again.
type message struct {
	code uint32
	id   callID
	r    reader
	w    writer
}

var messages = sync.Pool{New: func() any { return &message{w: writer{b: make([]byte, 0, 512)}} }}

// free clears a message of which no part is used any more.
func (m *message) free() {
	b, out := m.w.b[:cap(m.w.b)], m.w.out
	clear(b)
	clear(out)
	if max(len(b), len(out)) <= 64<<10 {
		*m = message{w: writer{b: b[:0], out: out}}
		messages.Put(m)
	}
}

// output is where a call may put n bytes of output, which are zero. They are
// cleared with the message.
func (w *writer) output(n int) []byte {
	if n > len(w.out) || w.out == nil {
		w.out = make([]byte, max(n, 64))
	}
	return w.out[:n:n]
}

// begin starts the body of a call or of an answer.
func (w *writer) begin(c callID, signature string) {
	w.b = append(w.b[:0], make([]byte, headerLen)...)
	w.uint32(uint32(c))
	w.array([]byte(signature))
}

// finish fills in the header.
func (w *writer) finish(code uint32) []byte {
	binary.BigEndian.PutUint32(w.b, code)
	binary.BigEndian.PutUint32(w.b[4:], 0)
	binary.BigEndian.PutUint32(w.b[8:], uint32(len(w.b)-headerLen))
	return w.b
}

func (w *writer) byte(v byte)     { w.b = append(w.b, v) }
func (w *writer) uint32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) uint64(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }

func (w *writer) bool(v bool) {
	if v {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

// array is the opposite of reader.array.
func (w *writer) array(b []byte) {
	if b == nil {
		w.uint32(null)
		return
	}
	w.uint32(uint32(len(b)))
	w.b = append(w.b, b...)
}

// bytes writes an ay.
func (w *writer) bytes(b []byte) {
	w.byte(1)
	w.uint32(uint32(len(b)))
	w.b = append(w.b, b...)
}

// size writes an ay that has a length only.
func (w *writer) size(n int) {
	w.byte(0)
	w.uint32(uint32(n))
}

// room writes an fy.
func (w *writer) room(b []byte) {
	switch {
	case b == nil:
		w.uint32(0)
	case len(b) == 0:
		w.uint32(null)
	default:
		w.uint32(uint32(min(len(b), math.MaxInt32)))
	}
}

func (w *writer) cryptoki(v pkcs11.Version) { w.byte(v.Major); w.byte(v.Minor) }

// padded writes an s of n bytes, cut between characters if it is too long.
func (w *writer) padded(s string, n int) {
	if len(s) > n {
		s = s[:n]
		for len(s) > 0 {
			if r, size := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || size > 1 {
				break
			}
			s = s[:len(s)-1]
		}
	}
	w.uint32(uint32(n))
	w.b = append(w.b, s...)
	for i := len(s); i < n; i++ {
		w.b = append(w.b, ' ')
	}
}

// ulongs writes an au.
func (w *writer) ulongs(list []uint64) {
	w.byte(1)
	w.uint32(uint32(len(list)))
	for _, v := range list {
		w.uint64(v)
	}
}

// count writes an au that says only how many there are.
func (w *writer) count(n int) {
	w.byte(0)
	w.uint32(uint32(n))
}

var errTooDeep = errors.New("templates are nested too deep")
