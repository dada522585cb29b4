// Command tpmkms makes a P-256 key with smallstep's TPM package, as its tpmkms does,
// on the TPM at a socket. For each line that it reads it makes so many signatures,
// and writes how many nanoseconds that took.
package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"go.step.sm/crypto/tpm"
	"go.step.sm/crypto/tpm/storage"
)

func main() {
	log.SetFlags(0)
	socket, dir := os.Args[1], os.Args[2]
	ctx := context.Background()
	t, err := tpm.New(tpm.WithDeviceName(socket), tpm.WithStore(storage.NewDirstore(dir)))
	check(err)
	_, err = t.CreateKey(ctx, "bench", tpm.CreateKeyConfig{Algorithm: "ECDSA", Size: 256})
	check(err)
	signer, err := t.GetSigner(ctx, "bench")
	check(err)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		check(err)
		begin := time.Now()
		for range n {
			_, err := signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
			check(err)
		}
		fmt.Println(time.Since(begin).Nanoseconds())
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
