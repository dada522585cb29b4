package fileflash_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

var newGolden = flag.String("new-golden", "", "write the golden log of this version to the file")

// goldenRecords is what testdata/v1.log holds, and v1-room.log, which has room.
func goldenRecords() map[string][]byte {
	return map[string][]byte{
		"token":  []byte("the record of the token, replaced"),
		"o-1":    slices.Repeat([]byte{1, 2, 3}, 100),
		"o-2":    {0},
		"o-4":    slices.Repeat([]byte{0xff}, 600),
		"a.b-c9": []byte("a name with every kind of character"),
	}
}

// A log of each version, as it was once written, stays readable for ever, and can
// be written.
func TestGoldenLogs(t *testing.T) {
	if *newGolden != "" {
		writeGolden(t, *newGolden)
	}
	logs, err := filepath.Glob("testdata/v*.log")
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, name := range logs {
		log, err := os.ReadFile(name)
		require.NoError(t, err)
		m := paltest.NewMedium()
		m.WriteFile("flash.log", log)
		s, err := fileflash.OpenFS(m, name, nil)
		require.NoError(t, err)
		got, err := paltest.Records(s)
		require.NoError(t, err)
		require.Empty(t, paltest.Diff(got, goldenRecords()), name)
		require.NoError(t, s.Save("new", []byte("1")))
		require.NoError(t, s.Remove("new"))
		got, err = paltest.Records(mustOpen(t, compact(t, m)))
		require.NoError(t, err)
		require.Empty(t, paltest.Diff(got, goldenRecords()), name)
	}
}

// writeGolden makes a log with a compacted part, single changes, a batch, and a
// change that was cut short.
func writeGolden(t *testing.T, name string) {
	m := paltest.NewMedium()
	s := mustOpen(t, m)
	want := goldenRecords()
	require.NoError(t, s.Batch([]pal.Change{{Name: "o-1", Data: want["o-1"]}, {Name: "o-2", Data: want["o-2"]}, {Name: "token", Data: []byte("the record of the token")}}))
	require.NoError(t, s.Save("o-3", []byte("to be removed")))
	require.NoError(t, s.Save("token", want["token"]))
	require.NoError(t, s.Batch([]pal.Change{{Name: "o-4", Data: want["o-4"]}, {Name: "o-3"}}))
	require.NoError(t, s.Save("a.b-c9", want["a.b-c9"]))
	size := len(content(t, m))
	require.NoError(t, s.Save("o-5", []byte("a change that is cut short")))
	log, err := m.ReadFile("flash.log")
	require.NoError(t, err)
	clear(log[size+30:]) // the rest of the change has not reached the room
	require.NoError(t, os.WriteFile(name, log, 0o644))
}
