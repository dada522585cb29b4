package tpm

import "encoding/binary"

// The TPM's structures are big-endian, with 16-bit lengths in front of what is
// of variable size (TPM2B_…).

func put16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
func put32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// putSized appends v as a TPM2B.
func putSized(b, v []byte) []byte { return append(put16(b, uint16(len(v))), v...) }

// reader reads from the front of b. bad is set when there is not enough, and
// everything read from then on is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// sized takes the contents of a TPM2B. They share the memory of b.
func (r *reader) sized() []byte { return r.take(int(r.u16())) }

// done reports whether everything was there and nothing is left.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }
