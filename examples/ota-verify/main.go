// Ota-verify checks the signature of a firmware image with the key that is
// installed in a token as "Code Verify Key", before anything is done with the
// image.
//
//	ota-verify soft:dir=gateway-data/token gateway-data/user.pin image.bin image.sig
//
// The signature is what openssl dgst -sha256 -sign key.pem image.bin writes. It
// exits with status 0 if the signature is right, and with 1 otherwise.
//
// The key is public and can be read without the PIN. But only a software token
// or a TPM that is logged in knows that it is the one that was installed, and not
// one that somebody has put into the store.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-cryptoki/cryptoki"
	_ "github.com/go-cryptoki/cryptoki/backends/atecc608"
	_ "github.com/go-cryptoki/cryptoki/backends/soft"
	_ "github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: ota-verify TOKEN PINFILE IMAGE SIGNATURE")
		os.Exit(1)
	}
	err := verify(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	switch {
	case err == nil:
		fmt.Println("ok: the signature is right")
	case errors.Is(err, pkcs11.CKR_SIGNATURE_INVALID):
		fmt.Fprintln(os.Stderr, "ota-verify: WRONG SIGNATURE, do not install:", err)
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "ota-verify:", err)
		os.Exit(1)
	}
}

func verify(ctx context.Context, name, pinFile, image, signature string) error {
	token, err := cryptoki.Open(ctx, name, &cryptoki.Options{PIN: cryptoki.PINFromFile(pinFile)})
	if err != nil {
		return err
	}
	defer token.Close()
	sig, err := os.ReadFile(signature)
	if err != nil {
		return err
	}
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	return token.VerifyCode(ctx, cryptoki.CodeVerifyKey, f, sig)
}
