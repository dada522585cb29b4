package rules_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// policy is what an attacker works against: the rules, or broken ones.
type policy struct {
	create func(pkcs11.Template) (pkcs11.Template, error)
	set    func(old, changes pkcs11.Template) (pkcs11.Template, error)
	copy   func(old, changes pkcs11.Template) (pkcs11.Template, error)
	wrap   func(wrapping, key pkcs11.Template) error
	unwrap func(unwrapping, t pkcs11.Template) (pkcs11.Template, error)
	read   func(object pkcs11.Template, typ pkcs11.AttributeType) pkcs11.Error
}

var good = policy{rules.Create, rules.Set, rules.Copy, rules.Wrap, rules.Unwrap, rules.Readable}

// flags are the attributes that tell keys apart. An attacker changes toys, the
// first of them; the others only restrict him further, or do not change.
var (
	flags = []pkcs11.AttributeType{
		pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT, pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP,
		pkcs11.CKA_TRUSTED, pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE,
	}
	toys  = flags[:9]
	uses  = flags[2:6]
	bools = append([]pkcs11.AttributeType{pkcs11.CKA_WRAP_WITH_TRUSTED, pkcs11.CKA_MODIFIABLE, pkcs11.CKA_COPYABLE}, flags...)
)

func signature(t pkcs11.Template, flags []pkcs11.AttributeType) uint32 {
	s := uint32(0)
	for i, f := range flags {
		if t.Bool(f) {
			s |= 1 << i
		}
	}
	return s
}

// An attack is the state of a search in the style of Tookan: objects by the
// value they hold and by their flags, the wrapped keys that exist, and the
// values that the attacker knows. Nothing is ever taken away: after a change
// the object is there as it was, too. That gives the attacker more than he has,
// and makes the search one for a fixed point, so that it covers sequences of any
// length.
type attack struct {
	policy
	objects map[string]map[uint32]pkcs11.Template
	blobs   map[[2]string]bool // wrapping value, wrapped value
	known   map[string]string  // value, and how it came out
	wraps   [1 << 20]int8      // what wrap said about flags: 0, or 1 for no, 2 for yes
	changes map[uint32][]form  // what can be made of an object with these flags
	unwraps map[uint32][]form  // what can be unwrapped with one
	fresh   []object           // not played with yet
	grown   bool
}

type object struct {
	value string
	form
}

// A form is an object, without the value that it holds.
type form struct {
	sig uint32
	t   pkcs11.Template
}

func formOf(t pkcs11.Template) form { return form{signature(t, flags), t} }

func (a *attack) add(value string, f form) {
	if a.objects[value] == nil {
		a.objects[value] = map[uint32]pkcs11.Template{}
	}
	if a.objects[value][f.sig] == nil {
		a.objects[value][f.sig] = f.t
		a.fresh = append(a.fresh, object{value, f})
		a.grown = true
	}
}

func (a *attack) know(value, how string) {
	if a.known[value] == "" {
		a.known[value] = how
		a.grown = true
	}
}

// run lets the attacker do whatever he can until a secret is out or nothing is
// new.
func (a *attack) run() {
	for a.grown = true; a.grown && a.leaked() == ""; {
		a.grown = false
		for len(a.fresh) > 0 && a.leaked() == "" {
			n := len(a.fresh) - 1
			o := a.fresh[n]
			a.fresh = a.fresh[:n]
			a.play(o)
		}
		forms := map[uint32]pkcs11.Template{}
		for _, variants := range a.objects {
			maps.Copy(forms, variants)
		}
		for wv, ws := range a.objects {
			var wraps [1 << 10]bool // what keys look like that some form of wv wraps
			for wsig, w := range ws {
				for ksig, k := range forms {
					wraps[ksig] = wraps[ksig] || a.mayWrap(wsig, ksig, w, k)
				}
			}
			for kv, ks := range a.objects {
				for ksig := range ks {
					if wraps[ksig] && !a.blobs[[2]string{wv, kv}] {
						a.blobs[[2]string{wv, kv}] = true
						a.grown = true
					}
				}
			}
		}
		for blob := range a.blobs {
			wv, kv := blob[0], blob[1]
			if how := a.known[wv]; how != "" {
				a.know(kv, "wrapped under "+wv+", known: "+how)
			}
			for wsig, w := range a.objects[wv] {
				// With a stream mode, encrypting undoes it, too.
				if w.Bool(pkcs11.CKA_DECRYPT) || w.Bool(pkcs11.CKA_ENCRYPT) {
					a.know(kv, "wrapped under "+wv+", which decrypts")
				}
				if !w.Bool(pkcs11.CKA_UNWRAP) {
					continue
				}
				for _, u := range a.unwrapped(wsig, w) {
					a.add(kv, u)
				}
			}
		}
	}
}

// unwrapped returns what can be made of a key wrapped under w.
func (a *attack) unwrapped(wsig uint32, w pkcs11.Template) (list []form) {
	if list, ok := a.unwraps[wsig]; ok {
		return list
	}
	aes := pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)}
	for _, uses := range useSets {
		for _, sensitive := range [...]bool{false, true} {
			t := with(with(aes, uses...), attr(pkcs11.CKA_SENSITIVE, sensitive), attr(pkcs11.CKA_EXTRACTABLE, true))
			if u, err := a.unwrap(w, t); err == nil {
				list = append(list, formOf(u))
			}
		}
	}
	a.unwraps[wsig] = list
	return list
}

// play reads, changes and copies an object.
func (a *attack) play(o object) {
	if a.read(o.t, pkcs11.CKA_VALUE) == 0 {
		a.know(o.value, "read")
	}
	for _, f := range a.changed(o.sig, o.t) {
		a.add(o.value, f)
	}
}

// changed returns what can be made of an object by one call.
func (a *attack) changed(sig uint32, o pkcs11.Template) (list []form) {
	if list, ok := a.changes[sig]; ok {
		return list
	}
	for _, f := range toys {
		for _, b := range [...]bool{false, true} {
			change := pkcs11.Template{attr(f, b)}
			if changed, err := a.set(o, change); err == nil && len(changed) > 0 {
				list = append(list, formOf(with(o, changed...)))
			}
			if c, err := a.copy(o, change); err == nil {
				list = append(list, formOf(c))
			}
			if b {
				continue
			}
			for _, g := range uses {
				if g == f {
					continue
				}
				two := pkcs11.Template{attr(f, b), attr(g, b)}
				if changed, err := a.set(o, two); err == nil && len(changed) > 0 {
					list = append(list, formOf(with(o, changed...)))
				}
			}
		}
	}
	a.changes[sig] = list
	return list
}

func (a *attack) mayWrap(wsig, ksig uint32, w, k pkcs11.Template) bool {
	said := &a.wraps[wsig<<10|ksig]
	if *said == 0 {
		*said = 1
		if w.Bool(pkcs11.CKA_WRAP) && a.wrap(w, k) == nil {
			*said = 2
		}
	}
	return *said == 2
}

// useSets are the sets of uses that keys are made with.
var useSets = func() (sets []pkcs11.Template) {
	for i := range 1 << len(uses) {
		var t pkcs11.Template
		for j, u := range uses {
			t = append(t, attr(u, i>>j&1 == 1))
		}
		sets = append(sets, t)
	}
	return sets
}()

// newAttack makes a token with one key of each kind, and one that the attacker
// has imported for each set of uses. Names of keys that are sensitive begin
// with "secret".
func newAttack(t *testing.T, p policy) *attack {
	a := &attack{policy: p, objects: map[string]map[uint32]pkcs11.Template{}, blobs: map[[2]string]bool{}, known: map[string]string{}, changes: map[uint32][]form{}, unwraps: map[uint32][]form{}}
	for i, uses := range useSets {
		for _, extractable := range [...]bool{false, true} {
			for _, sensitive := range [...]bool{false, true} {
				k, err := rules.Generate(&pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN},
					with(uses, attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_EXTRACTABLE, extractable), attr(pkcs11.CKA_SENSITIVE, sensitive)))
				if err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprintf("plain %d %v", i, extractable)
				if sensitive || !extractable {
					name = fmt.Sprintf("secret %d extractable=%v sensitive=%v", i, extractable, sensitive)
				}
				a.add(name, formOf(k))
			}
		}
		k, err := p.create(with(with(aesKey(), uses...), attr(pkcs11.CKA_VALUE, make([]byte, 16))))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("imported %d", i)
		a.add(name, formOf(k))
		a.know(name, "brought along")
	}
	return a
}

// leaked returns a secret that came out.
func (a *attack) leaked() string {
	for value, how := range a.known {
		if value[0] == 's' {
			return value + ": " + how
		}
	}
	return ""
}

func TestNoAttackOfTheTookanFamily(t *testing.T) {
	a := newAttack(t, good)
	a.run()
	if l := a.leaked(); l != "" {
		t.Error("a key came out: ", l)
	}
	n, wrapped := 0, 0
	for _, v := range a.objects {
		n += len(v)
	}
	for blob := range a.blobs {
		if blob[1][0] == 's' {
			wrapped++
		}
	}
	t.Logf("%d values in %d forms, %d wrapped keys, %d of them sensitive", len(a.objects), n, len(a.blobs), wrapped)
	if wrapped == 0 {
		t.Error("no sensitive key was ever wrapped: the search shows nothing")
	}
}

// A search that finds nothing is worth something if it finds what is there.
func TestSearchFindsAttacks(t *testing.T) {
	for _, c := range []struct {
		name string
		weak func(p *policy)
	}{
		{"a sensitive key goes under any wrapping key", func(p *policy) {
			p.wrap = func(_, key pkcs11.Template) error {
				if !key.Bool(pkcs11.CKA_EXTRACTABLE) {
					return pkcs11.CKR_KEY_UNEXTRACTABLE
				}
				return nil
			}
		}},
		{"a sensitive key goes under a key that was imported", func(p *policy) {
			p.wrap = func(w, key pkcs11.Template) error {
				return rules.Wrap(with(w, attr(pkcs11.CKA_LOCAL, true), attr(pkcs11.CKA_ALWAYS_SENSITIVE, true), attr(pkcs11.CKA_NEVER_EXTRACTABLE, true)), key)
			}
		}},
		{"a sensitive key goes under one that is wrapped itself", func(p *policy) {
			p.wrap = func(w, key pkcs11.Template) error {
				// All it takes is a copy of the wrapping key that decrypts.
				return rules.Wrap(with(w, attr(pkcs11.CKA_NEVER_EXTRACTABLE, true)), key)
			}
		}},
		{"a sensitive key goes under one that decrypts", func(p *policy) {
			p.wrap = func(w, key pkcs11.Template) error {
				return rules.Wrap(with(w, attr(pkcs11.CKA_DECRYPT, false), attr(pkcs11.CKA_ENCRYPT, false)), key)
			}
		}},
		{"unwrapping makes a key readable", func(p *policy) {
			p.unwrap = func(w, t pkcs11.Template) (pkcs11.Template, error) {
				return rules.Unwrap(with(w, attr(pkcs11.CKA_DECRYPT, true)), t)
			}
		}},
		{"a copy gets a use", func(p *policy) {
			p.copy = func(old, c pkcs11.Template) (pkcs11.Template, error) {
				if c[0].Type == pkcs11.CKA_DECRYPT {
					return with(old, c...), nil
				}
				return rules.Copy(old, c)
			}
		}},
		{"a copy is less sensitive", func(p *policy) {
			p.copy = func(old, c pkcs11.Template) (pkcs11.Template, error) {
				if c[0].Type == pkcs11.CKA_SENSITIVE || c[0].Type == pkcs11.CKA_EXTRACTABLE {
					return with(old, c...), nil
				}
				return rules.Copy(old, c)
			}
		}},
		{"a use can be gained", func(p *policy) {
			p.set = func(old, c pkcs11.Template) (pkcs11.Template, error) {
				if c[0].Type == pkcs11.CKA_DECRYPT && c[0].Bool() {
					return c[:1], nil
				}
				return rules.Set(old, c)
			}
		}},
		{"a wrapping key can give up decrypting", func(p *policy) {
			p.set = func(old, c pkcs11.Template) (pkcs11.Template, error) {
				if len(c) == 2 && (c[0].Type == pkcs11.CKA_DECRYPT || c[0].Type == pkcs11.CKA_ENCRYPT) && !c[0].Bool() {
					return c, nil
				}
				return rules.Set(old, c)
			}
		}},
		{"a key can become extractable", func(p *policy) {
			p.set = func(old, c pkcs11.Template) (pkcs11.Template, error) {
				if c[0].Type == pkcs11.CKA_EXTRACTABLE {
					return c[:1], nil
				}
				return rules.Set(old, c)
			}
		}},
		{"a key that is not extractable can be read", func(p *policy) {
			p.read = func(o pkcs11.Template, typ pkcs11.AttributeType) pkcs11.Error {
				if o.Bool(pkcs11.CKA_SENSITIVE) {
					return pkcs11.CKR_ATTRIBUTE_SENSITIVE
				}
				return 0
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := good
			c.weak(&p)
			a := newAttack(t, p)
			a.run()
			if a.leaked() == "" {
				t.Error("the search does not find what follows from it")
			} else {
				t.Log(a.leaked())
			}
		})
	}
}

// Sequences of up to four changes and copies of one key, literally: a key that
// is sensitive or not extractable never gets readable, and never gets back what
// it gave up.
func TestSequencesNeverLoosen(t *testing.T) {
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}
	for _, uses := range useSets {
		for _, sensitive := range [...]bool{false, true} {
			for _, extractable := range [...]bool{false, true} {
				seen := map[uint32]bool{}
				start, err := rules.Generate(m, with(uses, attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_SENSITIVE, sensitive), attr(pkcs11.CKA_EXTRACTABLE, extractable)))
				if err != nil {
					t.Fatal(err)
				}
				level := map[uint32]pkcs11.Template{signature(start, bools): start}
				for range 4 {
					next := map[uint32]pkcs11.Template{}
					for sig, o := range level {
						if seen[sig] {
							continue
						}
						seen[sig] = true
						if (sensitive || !extractable) && rules.Readable(o, pkcs11.CKA_VALUE) != pkcs11.CKR_ATTRIBUTE_SENSITIVE {
							t.Errorf("the value of %v can be read", o)
						}
						for _, f := range bools {
							for _, b := range [...]bool{false, true} {
								change := pkcs11.Template{attr(f, b)}
								if changed, err := rules.Set(o, change); err == nil {
									n := with(o, changed...)
									tighter(t, o, n)
									next[signature(n, bools)] = n
								}
								if n, err := rules.Copy(o, change); err == nil {
									tighter(t, o, n)
									next[signature(n, bools)] = n
								}
							}
						}
					}
					level = next
				}
				for _, o := range level {
					if (sensitive || !extractable) && rules.Readable(o, pkcs11.CKA_VALUE) != pkcs11.CKR_ATTRIBUTE_SENSITIVE {
						t.Errorf("after four steps the value of %v can be read", o)
					}
				}
			}
		}
	}
}

func tighter(t *testing.T, old, now pkcs11.Template) {
	t.Helper()
	for _, f := range bools {
		was, is := old.Bool(f), now.Bool(f)
		switch f {
		case pkcs11.CKA_MODIFIABLE:
		case pkcs11.CKA_SENSITIVE, pkcs11.CKA_WRAP_WITH_TRUSTED:
			if was && !is {
				t.Errorf("%v was given up", f)
			}
		case pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE, pkcs11.CKA_LOCAL:
			if was != is {
				t.Errorf("%v changed", f)
			}
		default:
			if !was && is {
				t.Errorf("%v was gained", f)
			}
		}
	}
}
