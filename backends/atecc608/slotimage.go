package atecc608

import (
	"bytes"
	"compress/flate"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki/pal"
)

// An image is all records of a token as data slots hold them: docs/atecc608.md has
// its bytes. Records are without their CRC in it, since it has one.
type image struct {
	slots   uint16 // in which it is, a bit each
	seq     uint32 // the higher, the newer
	records map[string][]byte
}

const (
	imageVersion = 1
	imageHead    = 9       // before what is compressed
	imageTail    = 4       // CRC-32C
	digitsFlag   = 0x80    // in the length of a name: what follows objectPrefix, as bytes
	maxUnpacked  = 1 << 17 // of any image that fits into a chip
)

//go:embed slots-v1.dict
var dictionaryText string

// dictionary is what records usually consist of: compressed, they refer to it. It
// is part of the format, and stays as it is.
var dictionary = sync.OnceValue(func() []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(dictionaryText), ""))
	if err != nil {
		panic("atecc608: the built-in dictionary is malformed: " + err.Error())
	}
	return b
})

// packers are writers to be used again: a new one takes a megabyte.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriterDict(nil, flate.BestCompression, dictionary())
	if err != nil {
		panic(err) // the level is one that there is
	}
	return w
}}

// marshal is the image's bytes.
func (m *image) marshal() ([]byte, error) {
	b := binary.BigEndian.AppendUint16([]byte{imageVersion}, m.slots)
	b = binary.BigEndian.AppendUint32(b, m.seq)
	out := bytes.NewBuffer(append(b, 0, 0))
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(out) // which keeps the dictionary
	for _, name := range slices.Sorted(maps.Keys(m.records)) {
		record := m.records[name]
		head := append([]byte{byte(len(name))}, name...)
		// Most names are random digits.
		if digits, ok := strings.CutPrefix(name, objectPrefix); ok {
			if id, err := hex.DecodeString(digits); err == nil && hex.EncodeToString(id) == digits {
				head = append([]byte{digitsFlag | byte(len(id))}, id...)
			}
		}
		w.Write(binary.BigEndian.AppendUint16(head, uint16(len(record)))) // a Buffer never fails
		w.Write(record)
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	b = out.Bytes()
	packed := len(b) - imageHead
	if packed > 0xFFFF {
		return nil, fmt.Errorf("%w: the records have %d bytes", pal.ErrFull, packed)
	}
	binary.BigEndian.PutUint16(b[imageHead-2:], uint16(packed))
	return seal(b), nil
}

// parseImage reads an image from the beginning of b; what is behind it may be
// anything.
func parseImage(b []byte) (*image, error) {
	if len(b) < imageHead+imageTail || b[0] != imageVersion {
		return nil, errRecord
	}
	end := imageHead + int(binary.BigEndian.Uint16(b[imageHead-2:]))
	if end+imageTail > len(b) || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, errRecord
	}
	m := &image{slots: binary.BigEndian.Uint16(b[1:]), seq: binary.BigEndian.Uint32(b[3:]), records: make(map[string][]byte)}
	r := flate.NewReaderDict(bytes.NewReader(b[imageHead:end]), dictionary())
	raw, err := io.ReadAll(io.LimitReader(r, maxUnpacked))
	if err != nil || len(raw) == maxUnpacked {
		return nil, errRecord
	}
	for d := (&decoder{b: raw}); len(d.b) > 0; {
		var name string
		if n := d.byte(); n&digitsFlag != 0 {
			name = objectPrefix + hex.EncodeToString(d.bytes(int(n&^digitsFlag)))
		} else {
			name = string(d.bytes(int(n)))
		}
		record := d.bytes(int(d.uint16()))
		if d.bad || len(record) == 0 || m.records[name] != nil || pal.CheckName(name) != nil {
			return nil, errRecord
		}
		m.records[name] = record
	}
	return m, nil
}
