//go:build linux

package processes_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() { children["sign"] = childSign }

// childSign signs with a token that it must not be able to change. With a second
// argument it makes the directory a read-only mount first, where it has mounts
// of its own.
func childSign(ctx context.Context, args []string) error {
	dir := args[0]
	if len(args) > 1 {
		var fs syscall.Statfs_t
		if err := errors.Join(syscall.Mount(dir, dir, "", syscall.MS_BIND, ""), syscall.Statfs(dir, &fs)); err != nil {
			return err
		}
		// What the file system was mounted with, nobody may take away here.
		keep := uintptr(fs.Flags) & (syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC)
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY|keep, ""); err != nil {
			return err
		}
	}
	p, err := open(ctx, dir, 0, fileflash.Options{})
	if err != nil {
		return err
	}
	defer p.close()
	key, err := p.Signer(ctx, "key")
	if err != nil {
		return err
	}
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
		return err
	}
	info, err := p.Info(ctx)
	if err != nil {
		return err
	}
	if info.Flags&pkcs11.CKF_WRITE_PROTECTED == 0 {
		return errors.New("the token does not say that it is write-protected")
	}
	_, err = p.GenerateKey(ctx, cryptoki.KeySpec{Label: "another", Algorithm: cryptoki.P256})
	if !errors.Is(err, pkcs11.CKR_TOKEN_WRITE_PROTECTED) || !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("generating a key: %w; want CKR_TOKEN_WRITE_PROTECTED", err)
	}
	fmt.Println("signed")
	return nil
}

// TestReadOnlyDirectory: a process that cannot write the directory signs, whether
// the file system is mounted read-only or the permissions forbid it.
func TestReadOnlyDirectory(t *testing.T) {
	for _, mount := range []bool{true, false} {
		t.Run(map[bool]string{true: "read-only mount", false: "permissions"}[mount], func(t *testing.T) {
			dir := newToken(t)
			p := mustOpen(t, dir, 0, fileflash.Options{})
			_, err := p.GenerateKey(t.Context(), cryptoki.KeySpec{Label: "key", Algorithm: cryptoki.P256})
			must(t, err)
			must(t, p.close())
			log := filepath.Join(dir, "flash.log")
			before, err := os.ReadFile(log)
			must(t, err)
			args := []string{dir}
			if mount {
				args = append(args, "mount")
			}
			c := child(t, "sign", args...)
			if mount {
				c.SysProcAttr = need.Mounts(t)
			} else {
				must(t, os.Chmod(log, 0o400))
				must(t, os.Chmod(dir, 0o500))
				t.Cleanup(func() { os.Chmod(dir, 0o700) })
				if os.Geteuid() == 0 { // whom no permission stops
					const nobody = 65534
					must(t, os.Chown(log, nobody, nobody))
					must(t, os.Chown(dir, nobody, nobody))
					must(t, os.Chmod(filepath.Dir(dir), 0o711))
					must(t, os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o711))
					exe := reachable(t, c.Path)
					c.Path, c.Args[0] = exe, exe
					c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
				}
			}
			out, err := c.CombinedOutput()
			if err != nil || string(out) != "signed\n" {
				t.Fatalf("%v: %s", err, out)
			}
			if after, err := os.ReadFile(log); err != nil || string(after) != string(before) {
				t.Errorf("the log is another one: %v", err)
			}
		})
	}
}

// reachable copies a program to where every user can execute it.
func reachable(t *testing.T, exe string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "processes")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	b, err := os.ReadFile(exe)
	must(t, err)
	copied := filepath.Join(dir, "test")
	must(t, os.WriteFile(copied, b, 0o755))
	return copied
}
