package main

import (
	"context"
	"fmt"
	"testing"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A brittle module does so many changes, and then no more.
type brittle struct {
	cryptoki.Module
	left int
}

type brittleSession struct {
	cryptoki.Session
	m *brittle
}

func (m *brittle) OpenSession(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
	s, err := m.Module.OpenSession(ctx, slot, flags)
	if err != nil {
		return nil, err
	}
	return &brittleSession{s, m}, nil
}

func (m *brittle) change() error {
	if m.left == 0 {
		return fmt.Errorf("the power is gone: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	m.left--
	return nil
}

func (s *brittleSession) CreateObject(ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if err := s.m.change(); err != nil {
		return 0, err
	}
	return s.Session.CreateObject(ctx, t)
}

func (s *brittleSession) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template) (a, b pkcs11.ObjectHandle, err error) {
	if err := s.m.change(); err != nil {
		return 0, 0, err
	}
	return s.Session.GenerateKeyPair(ctx, m, public, private)
}

func (s *brittleSession) SetAttributeValue(ctx context.Context, o pkcs11.ObjectHandle, t pkcs11.Template) error {
	if err := s.m.change(); err != nil {
		return err
	}
	return s.Session.SetAttributeValue(ctx, o, t)
}

func (s *brittleSession) DestroyObject(ctx context.Context, o pkcs11.ObjectHandle) error {
	if err := s.m.change(); err != nil {
		return err
	}
	return s.Session.DestroyObject(ctx, o)
}

// Wherever a replacement is interrupted, a key is there under the label; and the
// next attempt leaves exactly one.
func TestExchangeInterrupted(t *testing.T) {
	for _, label := range []string{"a key", cryptoki.ClaimKey, cryptoki.DevicePrivateKey} {
		places := []place{{pkcs11.CKO_PRIVATE_KEY, label}, {pkcs11.CKO_PUBLIC_KEY, publicLabel(label)}}
		steps := 0
		for ; ; steps++ {
			ctx := t.Context()
			device, err := soft.New(new(pal.Mem), &soft.Options{NoPIN: true})
			if err != nil {
				t.Fatal(err)
			}
			core, err := cryptoki.NewModule(nil, device)
			if err != nil {
				t.Fatal(err)
			}
			m := &brittle{Module: core, left: 1000}
			slots, err := m.Slots(ctx, true)
			if err != nil {
				t.Fatal(err)
			}
			token, err := cryptoki.NewToken(ctx, m, slots[0], nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := token.Initialize(ctx, cryptoki.Setup{Label: "t", SOPIN: []byte("2468")}); err != nil {
				t.Fatal(err)
			}
			replace := func() error {
				old, err := occupants(ctx, token, true, places...)
				if err != nil {
					return err
				}
				return exchange(ctx, token, old, places, func(name func(string) string) error {
					_, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: name(label), PublicLabel: name(publicLabel(label)), Algorithm: cryptoki.P256})
					return err
				})
			}
			if err := replace(); err != nil {
				t.Fatal(err)
			}
			before, err := token.PublicKey(ctx, label)
			if err != nil {
				t.Fatal(err)
			}
			m.left = steps
			interrupted := replace()
			m.left = 1000
			for _, p := range places {
				if found, err := find(ctx, token, p.label, p.class); err != nil || len(found) == 0 {
					t.Errorf("after %d changes there is no %s: %v", steps, p, err)
				}
			}
			if err := replace(); err != nil {
				t.Errorf("%q: after %d changes: again: %v", label, steps, err)
			}
			all, err := token.Objects(ctx, nil)
			if err != nil || len(all) != len(places) {
				t.Errorf("%q: after %d changes and another attempt: %v, %v", label, steps, all, err)
			}
			signer, err := token.Signer(ctx, label)
			if err != nil {
				t.Fatal(err)
			}
			if keys.Equal(before, signer.Public()) {
				t.Errorf("%q: the old key is still there", label)
			}
			token.Close()
			core.Close()
			if interrupted == nil {
				break
			}
		}
		t.Logf("%q: %d changes", label, steps)
	}
}
