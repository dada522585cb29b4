package tpm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/pal"
)

// The record of the attestation key is read as it was written, and damage is found.
func FuzzParseAttestation(f *testing.F) {
	r := &attestationRecord{epoch: [8]byte{1, 2, 3}, blob: keyBlob{public: []byte("public"), private: []byte("private"), creation: []byte("data"), ticket: []byte("ticket")}}
	b := r.encode()
	again, err := parseAttestation(b)
	require.NoError(f, err)
	require.Equal(f, b, again.encode())
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 1
		_, err := parseAttestation(damaged)
		require.ErrorIs(f, err, pal.ErrCorrupt)
	}
	f.Add(b[:len(b)-crcLen])
	f.Add([]byte{version, kindAttestation})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = appendCRC(b)
		if r, err := parseAttestation(b); err == nil {
			require.Equal(t, b, r.encode())
		}
	})
}
