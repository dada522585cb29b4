package main

import (
	"context"
	"crypto"
	"encoding/hex"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var keygenCommand = command{
	name:    "keygen",
	args:    "LABEL",
	summary: "make a key pair in the token",
	about: `The private key is made in the token and does not leave it. The public key gets
the same label, "Device Pub TLS Key" for "Device Priv TLS Key", or --public-label.`,
	pins: wantUser,
	json: append([]field{
		{"publicLabel", "of the public key"}, {"publicKey", "the public key in PEM"}, {"replaced", "array of what was replaced"},
	}, objectFields[:6]...),
	example: []example{
		{"the device's key, for TLS", `cryptoki keygen "Device Priv TLS Key"`},
		{"an RSA key", `cryptoki keygen --algorithm RSA-3072 "signing key"`},
		{"a new one in the place of the old one", `cryptoki keygen --replace "Device Priv TLS Key"`},
	},
	flags: func(o *options) runFunc {
		k := keygen{algorithm: string(cryptoki.P256)}
		var names []string
		for _, alg := range cryptoki.Algorithms() {
			names = append(names, string(alg))
		}
		o.str(&k.algorithm, "algorithm,a", "ALGORITHM", "one of "+strings.Join(names, ", "))
		o.str(&k.spec.PublicLabel, "public-label", "LABEL", "label of the public key")
		o.str(&k.id, "id", "HEX", "CKA_ID of both (default: made of the public key)")
		o.flag(&k.replace, "replace", "put the pair in the place of one that has the label; the old key is destroyed")
		o.flag(&k.spec.Decrypt, "decrypt", "the private key may decrypt too (RSA)")
		o.flag(&k.spec.Derive, "derive", "the private key may derive too (ECDH)")
		return func(ctx context.Context, a *app, args []string) error {
			k.spec.Label = args[0]
			return a.keygen(ctx, k)
		}
	},
}

type keygen struct {
	spec      cryptoki.KeySpec
	algorithm string
	id        string
	replace   bool
}

func (a *app) keygen(ctx context.Context, k keygen) error {
	spec := k.spec
	if err := label(spec.Label); err != nil {
		return err
	}
	var err error
	if spec.Algorithm, err = cryptoki.ParseAlgorithm(k.algorithm); err != nil {
		return usagef("%s", strings.TrimPrefix(err.Error(), "cryptoki: "))
	}
	if k.id != "" {
		if spec.ID, err = hex.DecodeString(k.id); err != nil {
			return usagef("--id %q is not hexadecimal", k.id)
		}
	}
	if spec.PublicLabel == "" {
		spec.PublicLabel = publicLabel(spec.Label)
	} else if err := label(spec.PublicLabel); err != nil {
		return err
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		private, public := place{pkcs11.CKO_PRIVATE_KEY, spec.Label}, place{pkcs11.CKO_PUBLIC_KEY, spec.PublicLabel}
		old, err := occupants(ctx, t, k.replace, private, public)
		if err != nil {
			return err
		}
		stop := a.progress("generating a key pair, " + string(spec.Algorithm))
		defer stop()
		var signer *cryptoki.Signer
		err = exchange(ctx, t, old, []place{private, public}, func(name func(string) string) error {
			s := spec
			s.Label, s.PublicLabel = name(spec.Label), name(spec.PublicLabel)
			var err error
			signer, err = t.GenerateKey(ctx, s)
			return err
		})
		stop()
		if err != nil {
			return err
		}
		return a.keygenDone(ctx, t, spec, signer, old)
	})
}

func (a *app) keygenDone(ctx context.Context, t *cryptoki.Token, spec cryptoki.KeySpec, signer *cryptoki.Signer, old []cryptoki.Object) error {
	replaced := []string{}
	var oldKeys []crypto.PublicKey
	for _, o := range old {
		replaced = append(replaced, place{o.Class, o.Label}.String())
		if pub, err := o.PublicKey(); err == nil {
			oldKeys = append(oldKeys, pub)
		}
	}
	if a.json {
		pem, err := publicPEM(signer.Public())
		if err != nil {
			return err
		}
		made, err := find(ctx, t, spec.Label, pkcs11.CKO_PRIVATE_KEY)
		if err != nil {
			return err
		}
		out := struct {
			object
			PublicLabel string   `json:"publicLabel"`
			PublicKey   string   `json:"publicKey"`
			Replaced    []string `json:"replaced"`
		}{PublicLabel: spec.PublicLabel, PublicKey: string(pem), Replaced: replaced}
		if len(made) == 1 {
			out.object = describe(made[0])
		}
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		for _, s := range replaced {
			if err := a.printf("replaced %s\n", s); err != nil {
				return err
			}
		}
		if err := a.printf("made private key %q and public key %q, %s, id %x\n", spec.Label, spec.PublicLabel, spec.Algorithm, signer.ID()); err != nil {
			return err
		}
	}
	if len(oldKeys) == 0 {
		return nil
	}
	// A certificate for the old key is of no use any more.
	certs, err := t.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE)})
	if err != nil {
		return err
	}
	for _, c := range certs {
		pub, err := c.PublicKey()
		if err != nil {
			continue
		}
		for _, o := range oldKeys {
			if keys.Equal(pub, o) {
				a.note("certificate %q belongs to the key that was replaced; request one for the new key: cryptoki csr %s", c.Label, shellQuote(spec.Label))
				break
			}
		}
	}
	return nil
}

// publicLabel is what the public key of a private key is called.
func publicLabel(private string) string {
	if private == cryptoki.DevicePrivateKey {
		return cryptoki.DevicePublicKey
	}
	return private
}
