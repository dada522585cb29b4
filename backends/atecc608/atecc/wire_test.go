package atecc

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// group frames a payload as the chip does.
func group(p []byte) []byte {
	b := append([]byte{byte(len(p) + groupOverhead)}, p...)
	c := crc(b)
	return append(b, byte(c), byte(c>>8))
}

func TestFrames(t *testing.T) {
	for _, tt := range []struct {
		op, p1 byte
		p2     uint16
		data   []byte
		want   string
	}{
		{opInfo, 0, 0, nil, "0307300000 00035d"},
		{opRead, wide, 0, nil, "0307028000 0009ad"},
		{opRead, wide | byte(ZoneData), address(ZoneData, 8, 32), nil, "0307028240 010a27"},
		{opRead, 0, address(ZoneConfig, 0, 84), nil, "0307020015 00175d"},
		{opWrite, 0, address(ZoneConfig, 0, 16), []byte{0xC0, 0, 0, 0}, "030b12000400c00000008673"},
		{opLock, lockSlot | 13<<2, 0, nil, "0307173600005e0a"},
		{opGenKey, genKeyCreate, tempKeySlot, nil, "03074004ffff8e07"},
		{opNonce, byte(MessageBuffer) | nonceFixed, 0, make([]byte, 32), "032716430000" + hex.EncodeToString(make([]byte, 32)) + "143a"},
		{opSign, signExternal | fromMessage, 0, nil, "030741a000007b85"},
		{opCounter, 1, 1, nil, "030724010100 06f7"},
	} {
		want, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(tt.want), []byte(" "), nil)))
		require.NoError(t, err)
		require.Equal(t, want, appendCommand(nil, tt.op, tt.p1, tt.p2, tt.data))
	}
	require.EqualValues(t, 0x0252, address(ZoneData, 10, 64+2*4))
	_, err := payload(append(group(nil), 0xFF))
	require.ErrorIs(t, err, errDamaged)
	for _, bad := range []string{"", "04", "040003", "04000341", "03000340", "0500034000", "ffffffffffffffff"} {
		b, err := hex.DecodeString(bad)
		require.NoError(t, err)
		_, err = payload(b)
		require.ErrorIs(t, err, errDamaged, bad)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"04113343", "0700006003 83bb", "04000340ffffff", "23", ""} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Add(group(make([]byte, 64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := payload(b)
		if err != nil {
			require.ErrorIs(t, err, errDamaged)
			return
		}
		require.True(t, bytes.HasPrefix(b, group(p)), "what is read is what was written")
	})
}

// TestPace follows a chip whose speed changes.
func TestPace(t *testing.T) {
	// polls plays the polling of a command that takes took, and returns how many
	// polls it needs and how late the last one is.
	polls := func(p *pace, took time.Duration) (n int, late time.Duration) {
		for at := p.first(); ; at += p.gap(at) {
			n++
			if at >= took {
				p.saw(at)
				return n, at - took
			}
		}
	}
	for _, longest := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 115 * time.Millisecond, 665 * time.Millisecond} {
		p := new(pace)
		for _, percent := range []time.Duration{100, 50, 30, 100, 99, 1, 70} {
			took := longest * percent / 100
			for range 30 {
				polls(p, took)
			}
			n, late := polls(p, took)
			require.LessOrEqual(t, n, 60, "%v", took)
			require.LessOrEqual(t, late, max(took/200, 2*minGap), "%v", took)
		}
	}
	// One that takes another time at each command is not missed by much, either.
	p, worst, most := new(pace), time.Duration(0), 0
	for i := range time.Duration(500) {
		took := (30 + i*37%70) * 115 * time.Millisecond / 100
		n, late := polls(p, took)
		if i > 0 {
			worst, most = max(worst, late), max(most, n)
		}
	}
	require.LessOrEqual(t, worst, 4*time.Millisecond)
	require.LessOrEqual(t, most, 70)
}
