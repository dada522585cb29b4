//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package fileflash_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/need"
)

func init() { children["diagnose"] = childDiagnose }

// lines returns the findings that are not in order as "severity name: text".
func lines(found []driver.Finding) []string {
	var l []string
	for _, f := range found {
		if f.Severity != driver.Good {
			l = append(l, fmt.Sprintf("%v %s: %s", f.Severity, f.Name, f.Text))
		}
	}
	return l
}

// diagnose checks what is true of every diagnosis, and returns it and the names
// of the records that it read.
func diagnose(t *testing.T, dir string) (found []driver.Finding, records []string) {
	t.Helper()
	before := everything(t, dir)
	found, snapshot := fileflash.Diagnose(dir)
	if snapshot != nil {
		var err error
		records, err = snapshot.Names()
		require.NoError(t, err)
		slices.Sort(records)
		require.NoError(t, snapshot.Close())
	}
	require.Equal(t, before, everything(t, dir), "it changed something")
	require.NotEmpty(t, found)
	for _, f := range found {
		require.NotEmpty(t, f.Name)
		require.NotEmpty(t, f.Text)
		require.NotContains(t, f.Text+f.Cure, "\n")
		require.Equal(t, f.Severity == driver.Good, f.Cure == "", "%+v", f)
	}
	return found, records
}

// everything describes all files below a path.
func everything(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is not there, or may not be read
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, name, info.Mode(), info.Size(), info.ModTime())
		return nil
	})
	require.NoError(t, err)
	return b.String()
}

func TestDiagnose(t *testing.T) {
	logOf := func(dir string) string { return filepath.Join(dir, "flash.log") }
	edit := func(t *testing.T, dir string, f func(log []byte) []byte) {
		t.Helper()
		log, err := os.ReadFile(logOf(dir))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(logOf(dir), f(log), 0o600))
	}
	all := []string{"a", "b"}
	for _, tt := range []struct {
		name    string
		make    func(t *testing.T, dir string) // dir holds a store
		want    []string                       // for each finding that is not good: severity and name, text, cure
		records []string
	}{
		{"a healthy store", func(*testing.T, string) {}, nil, all},
		{"an empty one", func(t *testing.T, dir string) { require.NoError(t, os.Remove(logOf(dir))) }, nil, nil},
		{"a missing directory", func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) },
			[]string{"problem directory", "does not exist", "mkdir -m 700"}, nil},
		{"a symbolic link", func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir, dir+"-real"))
			require.NoError(t, os.Symlink(dir+"-real", dir))
		}, []string{"problem directory", "is a symbolic link to", "name the directory that it leads to"}, nil},
		{"a file", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		}, []string{"problem directory", "is no directory", "name a directory"}, nil},
		{"a directory that everybody can write", func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o777)) },
			[]string{"problem permission", "everybody can write", "chmod 700 /"}, all},
		{"a directory that the group can write", func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o770)) },
			[]string{"problem permission", "its group can write", "chmod 700 /"}, all},
		{"a directory of another user", func(t *testing.T, dir string) {
			need.Root(t, "give a directory away")
			require.NoError(t, os.Chown(dir, 12345, -1))
		}, []string{"problem owner", "belongs to user 12345", "chown -R"}, all},
		{"a log that others can read", func(t *testing.T, dir string) { require.NoError(t, os.Chmod(logOf(dir), 0o644)) },
			[]string{"problem permission", "others can read or write", "chmod 600 /"}, all},
		{"a log of another user", func(t *testing.T, dir string) {
			need.Root(t, "give a file away")
			require.NoError(t, os.Chown(logOf(dir), 12345, -1))
		}, []string{"problem owner", "flash.log belongs to user 12345", "chown"}, all},
		{"a log that is a symbolic link", func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(logOf(dir), dir+".moved"))
			require.NoError(t, os.Symlink(dir+".moved", logOf(dir)))
		}, []string{"problem log", "is a symbolic link", "move the file"}, nil},
		{"a log that is a pipe", func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(logOf(dir)))
			require.NoError(t, syscall.Mkfifo(logOf(dir), 0o600))
		}, []string{"problem log", "no regular file", "move it away"}, nil},
		{"another file in its place", func(t *testing.T, dir string) {
			edit(t, dir, func([]byte) []byte { return []byte("a letter to my aunt, and no log of a token") })
		}, []string{"problem log", "is no log of a token", "move the file away"}, nil},
		{"a log that was emptied", func(t *testing.T, dir string) {
			edit(t, dir, func([]byte) []byte { return nil })
		}, []string{"problem log", "is damaged", "backup"}, nil},
		{"a log of a newer version", func(t *testing.T, dir string) {
			edit(t, dir, func(log []byte) []byte { log[0] = 7; return log })
		}, []string{"problem version", "is in format version 7", "a newer one"}, nil},
		{"a damaged header", func(t *testing.T, dir string) {
			edit(t, dir, func(log []byte) []byte { log[20] ^= 1; return log })
		}, []string{"problem log", "is damaged", "backup"}, nil},
		{"a damaged head", func(t *testing.T, dir string) {
			edit(t, dir, func(log []byte) []byte { log[32+17] ^= 1; return log })
		}, []string{"problem log", "is damaged: record is damaged at offset 32", "backup"}, nil},
		{"a damaged record", func(t *testing.T, dir string) {
			edit(t, dir, func(log []byte) []byte { log[strings.Index(string(log), "bbbbbbbb")] ^= 1; return log })
		}, []string{"problem record", "record b: record is damaged", "save it again"}, all},
		{"a torn tail", func(t *testing.T, dir string) {
			edit(t, dir, func(log []byte) []byte { return bytes.TrimRight(log, "\x00")[:len(bytes.TrimRight(log, "\x00"))-9] })
		}, []string{"warning interrupted", "cut short", "check what was last changed"}, []string{"a"}},
		{"foreign files", func(t *testing.T, dir string) {
			for _, name := range []string{"notes.txt", "lost+found", "flash.new"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
			}
		}, []string{"warning foreign", "are left alone: notes.txt", "move them elsewhere"}, all},
		{"two things at once", func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(dir, 0o777))
			require.NoError(t, os.Chmod(logOf(dir), 0o666))
		}, []string{"problem permission", "everybody can write", "chmod 700", "problem permission", "others can read", "chmod 600"}, all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(privateDir(t), "store")
			s, err := fileflash.Open(dir, &fileflash.Options{Create: true})
			require.NoError(t, err)
			require.NoError(t, s.Save("a", []byte("aaaaaaaa")))
			require.NoError(t, s.Save("b", []byte("bbbbbbbb")))
			require.NoError(t, s.Close())
			tt.make(t, dir)
			found, records := diagnose(t, dir)
			found = slices.DeleteFunc(found, func(f driver.Finding) bool {
				return f.Severity == driver.Good || f.Name == "medium" || f.Name == "space" // those of this machine
			})
			require.Len(t, found, len(tt.want)/3, lines(found))
			for i, f := range found {
				w := tt.want[3*i:]
				require.Equal(t, w[0], fmt.Sprint(f.Severity, " ", f.Name))
				require.Contains(t, f.Text, w[1])
				require.Contains(t, f.Cure, w[2])
			}
			require.Equal(t, tt.records, records)
		})
	}
}

// A log that is larger than it should be could not be compacted.
func TestDiagnoseLargeLog(t *testing.T) {
	dir := privateDir(t)
	s := open(t, dir)
	require.NoError(t, s.Save("a", make([]byte, 100)))
	log, err := os.ReadFile(filepath.Join(dir, "flash.log"))
	require.NoError(t, err)
	// The same entry over and over, as if a full disk had been in the way.
	first := log[32:s.Stats().Size]
	id := binary.LittleEndian.Uint64(log[8:])
	log = log[:32]
	for len(log) < 400<<10 {
		log = append(log, fileflash.Moved(first, id, int64(len(log)))...)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "flash.log"), log, 0o600))
	found, _ := diagnose(t, dir)
	require.Contains(t, strings.Join(lines(found), "\n"), "warning log: ")
	require.Contains(t, strings.Join(lines(found), "\n"), "in 1 records, ")
}

// childDiagnose prints what is not in order.
func childDiagnose(args []string) error {
	found, snapshot := fileflash.Diagnose(args[0])
	if snapshot != nil {
		snapshot.Close()
	}
	for _, l := range lines(found) {
		fmt.Println(l)
	}
	return nil
}

// Somebody who is not root is told what he may not do.
func TestDiagnosePermissions(t *testing.T) {
	dir := privateDir(t)
	require.NoError(t, open(t, dir).Save("a", []byte("1")))
	own, run := asNobody(t, dir)
	require.NoError(t, os.Chmod(own, 0o500))
	require.Contains(t, run("diagnose", own), "warning writable: "+own+" cannot be written")
	require.NoError(t, os.Chmod(own, 0o000))
	require.Contains(t, run("diagnose", own), "problem permission: "+own+" cannot be read")
	require.NoError(t, os.Chmod(own, 0o700))
	require.NotContains(t, run("diagnose", own), "problem")
	require.NoError(t, os.Chmod(filepath.Join(own, "flash.log"), 0o000))
	require.Contains(t, run("diagnose", own), "problem permission: "+own+"/flash.log cannot be read")
	need.Root(t, "have files that nobody may see")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "closed"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "closed", "token"), 0o700))
	out := run("diagnose", filepath.Join(dir, "closed", "token"))
	require.Contains(t, out, "problem directory: ")
	require.Contains(t, out, "may not search ")
	require.NoError(t, os.Chown(own, 0, 0))
	out = run("diagnose", own)
	require.Contains(t, out, "problem owner: "+own+" belongs to user root, this program runs as nobody")
	require.Contains(t, out, "cannot be read")
}

func TestDiagnoseLock(t *testing.T) {
	dir := privateDir(t)
	s := open(t, dir)
	require.NoError(t, s.Save("a", []byte("1")))
	unlock, err := s.Lock()
	require.NoError(t, err)
	found, records := diagnose(t, dir) // which does not wait
	require.Equal(t, []string{"a"}, records)
	text := strings.Join(lines(found), "\n")
	require.Contains(t, text, "warning lock: "+dir+" is locked by ")
	if runtime.GOOS == "linux" {
		require.Contains(t, text, fmt.Sprintf("process %d (", os.Getpid()))
	}
	require.NoError(t, unlock())
	found, _ = diagnose(t, dir)
	require.NotContains(t, strings.Join(lines(found), "\n"), "lock")
	require.NoError(t, s.Save("a", []byte("2")), "the lock was given back")
}

// What the medium says becomes findings.
func TestDiagnoseMedium(t *testing.T) {
	const mib = 1 << 20
	good := fileflash.Medium{Free: 100 * mib, Size: 200 * mib, Files: 1000}
	for _, tt := range []struct {
		name   string
		change func(m *fileflash.Medium)
		want   string
	}{
		{"all is well", func(*fileflash.Medium) {}, ""},
		{"nothing is known", func(m *fileflash.Medium) { m.Free, m.Size, m.Files = -1, -1, -1 }, ""},
		{"in memory", func(m *fileflash.Medium) { m.Memory = "tmpfs" }, "warning medium: /d is on a tmpfs, in memory"},
		{"on the network", func(m *fileflash.Medium) { m.Network = "NFS" }, "warning medium: /d is on a NFS: locks"},
		{"read-only", func(m *fileflash.Medium) { m.ReadOnly, m.Free = true, 0 }, "warning writable: the file system is mounted read-only"},
		{"full", func(m *fileflash.Medium) { m.Free = 0 }, "problem space: the file system is full: there is room for no more bytes"},
		{"no inodes", func(m *fileflash.Medium) { m.Files = 0 }, "problem space: the file system is full: there is room for no more files"},
		{"nearly full", func(m *fileflash.Medium) { m.Free = 300 << 10 }, "warning space: 300 KiB are free of 200 MiB"},
		{"worn", func(m *fileflash.Medium) { m.Device, m.Life, m.EOL = "mmcblk0", 9, 1 }, "warning wear: mmcblk0 says that it nears its end (life time 80 to 90 %, pre-EOL 1)"},
		{"warned", func(m *fileflash.Medium) { m.Device, m.Life, m.EOL = "mmcblk0", 3, 2 }, "warning wear: mmcblk0 says that it nears its end"},
		{"worn out", func(m *fileflash.Medium) { m.Device, m.Life, m.EOL = "mmcblk0", 11, 3 }, "problem wear: mmcblk0 says that it is worn out (life time more than 100 %, pre-EOL 3)"},
		{"hardly worn", func(m *fileflash.Medium) { m.Device, m.Life, m.EOL = "mmcblk0", 1, 1 }, ""},
	} {
		m := good
		tt.change(&m)
		got := strings.Join(lines(m.Diagnose("/d", 100<<10)), "\n")
		if tt.want == "" {
			require.Empty(t, got, tt.name)
		}
		require.True(t, strings.HasPrefix(got, tt.want), "%s: %s", tt.name, got)
		require.Zero(t, strings.Count(got, "\n"), got)
	}
}
