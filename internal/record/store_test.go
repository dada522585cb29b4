package record

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/stretchr/testify/require"
)

func TestStoreError(t *testing.T) {
	for _, c := range []struct {
		err  error
		code pkcs11.Error
		cure string
	}{
		{fmt.Errorf("x: %w: %w", pal.ErrReadOnly, syscall.EROFS), pkcs11.CKR_TOKEN_WRITE_PROTECTED, "make its store writable"},
		{fmt.Errorf("x: %w: %w", pal.ErrFull, syscall.ENOSPC), pkcs11.CKR_DEVICE_MEMORY, "make room"},
		{&fs.PathError{Op: "fsync", Path: "/x", Err: syscall.EIO}, pkcs11.CKR_DEVICE_ERROR, "the kernel's log"},
		{fmt.Errorf("x: version 2: %w", errors.ErrUnsupported), pkcs11.CKR_TOKEN_NOT_RECOGNIZED, "version 2"},
		{&fs.PathError{Op: "flock", Path: "/x", Err: syscall.ENOSYS}, pkcs11.CKR_DEVICE_ERROR, "flock /x"},
		{errors.New("else"), pkcs11.CKR_DEVICE_ERROR, "tpm: write: CKR_DEVICE_ERROR: else"},
	} {
		err := StoreError("tpm: write", c.err)
		require.ErrorIs(t, err, c.code)
		require.ErrorIs(t, err, c.err)
		require.ErrorContains(t, err, c.cure)
	}
}
