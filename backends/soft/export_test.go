package soft

import (
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// WithoutDelay are options without the growing delay after wrong PINs.
func WithoutDelay(o Options) *Options {
	o.noDelay = true
	return &o
}

// Secrets returns what must not be found anywhere: the PIN and the keys that it
// opens in the token of the store.
func Secrets(store pal.Store, pin []byte) (map[string][]byte, error) {
	t, err := New(store, nil)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	key := t.rec.user.kdf.key(pin, t.rec.user.salt)
	secrets := map[string][]byte{"the PIN": pin, "the key made of the PIN": key}
	if err := t.Login(ctx, pkcs11.CKU_USER, pin); err != nil {
		return nil, err
	}
	tokenKey := append([]byte{}, t.keys.tokenKey...)
	secrets["the token key"] = tokenKey
	secrets["the key of the token's record"] = derive(tokenKey, contextToken)
	secrets["the key of public objects"] = derive(tokenKey, contextPublic)
	secrets["the key of private objects"] = derive(tokenKey, contextPrivate)
	secrets["the key of the inventory"] = derive(tokenKey, contextBook)
	list, err := t.Objects(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		b := o.(stored).base()
		if b.secret == nil {
			continue
		}
		label := b.Attributes().Text(pkcs11.CKA_LABEL)
		secrets["the key of the secret part of "+label] = derive(tokenKey, contextSecret+b.name)
		values, err := b.values()
		if err != nil {
			return nil, err
		}
		for _, a := range values {
			secrets[label+" "+a.Type.String()] = a.Bytes()
		}
	}
	return secrets, nil
}

// RaceDetector says that the tests run with it.
const RaceDetector = raceDetector
