package model

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A call is one call of a sequence. Its numbers choose among what there is at
// that point, so that a sequence still means something after others have been
// left out of it.
type call struct {
	op         string
	session    int
	object     int
	a, b, c, d int

	number int // in the sequence as it was made, from 1

	// The object, and the session by the call that has opened it, that are used in place
	// of those that the numbers choose, as long as there are such ones; see pinned.
	chosen origin
	opener int
}

// An origin is what an object is known by in a sequence and in every part of it: the
// number of the call that has made it, and which of the call's objects it is, from 1.
// The zero origin is none's.
type origin struct{ call, n int }

func (c call) String() string {
	return fmt.Sprintf("%s session %d object %d (%d %d %d %d)", c.op, c.session, c.object, c.a, c.b, c.c, c.d)
}

// A choice is what a call has used.
type choice struct {
	object origin
	opener int
}

// A runner carries one sequence out on the model and the module.
type runner struct {
	ctx      context.Context
	module   cryptoki.Module
	slot     pkcs11.SlotID
	userPIN  []byte
	soPIN    []byte
	prefix   string // of tags and labels
	w        world
	sessions []cryptoki.Session // as in w
	openers  []int              // of the sessions, the number of the call
	handles  map[*object]pkcs11.ObjectHandle
	byTag    map[string]*object
	origins  map[origin]*object
	number   int            // of the call that is carried out
	choices  map[int]choice // by the number of the call
	made     []*made
	pairs    int
	tags     int
	last     pkcs11.Error   // what the call returned
	seen     map[string]int // how often each call returned each code; may be nil
}

// step runs one call on both sides. The error says how they differ.
func (r *runner) step(c call) error {
	if len(r.w.sessions) == 0 && c.op != "OpenSession" {
		c = call{op: "OpenSession", a: 1}
	}
	r.last, r.number = none, c.number
	s, se := r.session(c)
	f, ok := ops[c.op]
	if !ok {
		return fmt.Errorf("unknown call %q", c.op)
	}
	if err := f.run(r, c, s, se); err != nil {
		return err
	}
	if r.seen != nil {
		r.seen[c.op+" "+codeText(r.last)]++
	}
	return nil
}

// session chooses one of the open sessions, now and then any there ever was.
func (r *runner) session(c call) (*session, cryptoki.Session) {
	var open []int
	at := -1
	for i, s := range r.w.sessions {
		if !s.closed || c.session == 11 {
			open = append(open, i)
			if c.opener != 0 && r.openers[i] == c.opener {
				at = i
			}
		}
	}
	switch {
	case at >= 0:
	case len(open) > 0:
		at = open[c.session%len(open)]
	case len(r.sessions) > 0:
		at = len(r.sessions) - 1
	default:
		return nil, nil
	}
	r.choices[c.number] = choice{opener: r.openers[at]}
	return r.w.sessions[at], r.sessions[at]
}

// choose notes which object a call uses: what by chooses, if there is not the one that
// the call has to.
func (r *runner) choose(c call, by func() *object) (*object, pkcs11.ObjectHandle) {
	o := r.origins[c.chosen]
	if o == nil {
		o = by()
	}
	if o != nil {
		r.choices[c.number] = choice{o.origin, r.choices[c.number].opener}
	}
	return o, r.handles[o]
}

// object chooses one of the objects that there ever were; nil if there was none.
func (r *runner) object(c call) (*object, pkcs11.ObjectHandle) {
	return r.choose(c, func() *object { return r.any(c) })
}

func (r *runner) any(c call) *object {
	if len(r.w.objects) == 0 {
		return nil
	}
	// Young ones are the more interesting.
	n := len(r.w.objects)
	return r.w.objects[n-1-c.object%min(n, 40)]
}

// key chooses as any does, but mostly among the keys of a class that can be used now.
func (r *runner) key(c call, class pkcs11.ObjectClass) *object {
	if c.c%5 == 0 {
		return r.any(c)
	}
	var usable []*object
	for _, o := range r.w.objects {
		if o.valid && o.class == class {
			usable = append(usable, o)
		}
	}
	if len(usable) == 0 {
		return r.any(c)
	}
	return usable[len(usable)-1-c.object%min(len(usable), 6)]
}

// same compares an error with the code that the model wants.
func (r *runner) same(err error, want pkcs11.Error) error {
	r.last = want
	got := none
	if err != nil {
		got = pkcs11.CodeOf(err)
	}
	if got != want {
		return fmt.Errorf("the module says %v, the model %s", errText(err), codeText(want))
	}
	return nil
}

func errText(err error) string {
	if err == nil {
		return "CKR_OK"
	}
	return err.Error()
}

func codeText(code pkcs11.Error) string {
	if code == none {
		return "CKR_OK"
	}
	return code.Error()
}

func sameNumber(what string, got, want int) error {
	if got != want {
		return fmt.Errorf("%s: the module says %d, the model %d", what, got, want)
	}
	return nil
}

// room makes a buffer for an output of size bytes: none, too short, exact or
// longer.
func room(choice, size int) []byte {
	switch choice % 6 {
	case 0:
		return nil
	case 1:
		return make([]byte, size-1)
	case 2:
		return make([]byte, size+9)
	}
	return make([]byte, size)
}

func roomOf(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

func (r *runner) tag() string {
	r.tags++
	return fmt.Sprintf("%s%d", r.prefix, r.tags)
}

func (r *runner) label(n int) string { return fmt.Sprintf("%slabel %d", r.prefix, n%5) }

func (r *runner) add(o *object, h pkcs11.ObjectHandle) {
	r.handles[o] = h
	r.byTag[o.tag] = o
	at := origin{r.number, 1}
	for r.origins[at] != nil {
		at.n++
	}
	r.origins[at], o.origin = o, at
}

// fresh reports a handle that was given before: handles are never used twice.
func (r *runner) fresh(h pkcs11.ObjectHandle) error {
	if h == 0 {
		return fmt.Errorf("the module returns the handle 0")
	}
	for o, used := range r.handles {
		if used == h {
			return fmt.Errorf("the module returns the handle %d, which was that of %s", h, o.tag)
		}
	}
	return nil
}

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

var (
	keyGen      = &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}
	ecdsa       = &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	ecdsaSHA256 = &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA_SHA256}
	sha256Mech  = &pkcs11.Mechanism{Type: pkcs11.CKM_SHA256}
)

func mechOf(hashes bool) *pkcs11.Mechanism {
	if hashes {
		return ecdsaSHA256
	}
	return ecdsa
}

// An op is a kind of call, with how often it is made.
type op struct {
	weight int
	alone  bool // not where others share the token
	run    func(r *runner, c call, s *session, se cryptoki.Session) error
}

var (
	ops     map[string]op
	opNames []string // sorted: a seed stands for the same calls everywhere
)

func init() {
	ops = map[string]op{
		"OpenSession": {weight: 6, run: func(r *runner, c call, _ *session, _ cryptoki.Session) error {
			flags := pkcs11.SessionFlags(pkcs11.CKF_SERIAL_SESSION)
			rw := c.a%4 != 0
			if rw {
				flags |= pkcs11.CKF_RW_SESSION
			}
			if n, _ := r.w.openSessions(); n >= 8 {
				return nil
			}
			want := r.w.open(rw)
			se, err := r.module.OpenSession(r.ctx, r.slot, flags)
			if err == nil {
				r.sessions, r.openers = append(r.sessions, se), append(r.openers, r.number)
			}
			return r.same(err, want)
		}},
		"Close": {weight: 2, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			return r.same(se.Close(), r.w.close(s))
		}},
		"CloseAllSessions": {weight: 1, alone: true, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			if c.a%8 != 0 {
				return nil
			}
			return r.same(r.module.CloseAllSessions(r.ctx, r.slot), r.w.closeAll())
		}},
		"Info": {weight: 2, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			info, err := se.Info(r.ctx)
			if s.closed {
				return r.same(err, pkcs11.CKR_SESSION_HANDLE_INVALID)
			}
			if err := r.same(err, none); err != nil {
				return err
			}
			if want := r.w.state(s); info.State != want {
				return fmt.Errorf("the module is in state %v, the model in %v", info.State, want)
			}
			return nil
		}},
		"Login": {weight: 10, alone: true, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			as, i := pkcs11.CKU_USER, 0
			pin := r.userPIN
			switch c.a % 6 {
			case 0:
				as, pin, i = pkcs11.CKU_SO, r.soPIN, 1
			case 1:
				as = pkcs11.CKU_CONTEXT_SPECIFIC
			}
			// Not so many wrong PINs in a row that the token locks.
			good := c.b%5 != 0 || r.w.badPINs[i] > 2
			if !good {
				pin = []byte("wrong 1234")
			}
			want := r.w.logIn(s, as, good)
			switch want {
			case pkcs11.CKR_PIN_INCORRECT:
				r.w.badPINs[i]++
			case none:
				r.w.badPINs[i] = 0
			}
			return r.same(se.Login(r.ctx, as, pin), want)
		}},
		"Logout": {weight: 3, alone: true, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			return r.same(se.Logout(r.ctx), r.w.logOut(s))
		}},
		"CreateObject":    {weight: 8, run: (*runner).create},
		"GenerateKeyPair": {weight: 5, run: (*runner).generate},
		"CopyObject":      {weight: 4, run: (*runner).copy},
		"DestroyObject": {weight: 9, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			o, h := r.object(c)
			if o == nil {
				return nil
			}
			return r.same(se.DestroyObject(r.ctx, h), r.w.destroy(s, o))
		}},
		"GetAttributeValue": {weight: 8, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			o, h := r.object(c)
			if o == nil {
				return nil
			}
			types := []pkcs11.AttributeType{pkcs11.CKA_LABEL, pkcs11.CKA_CLASS, pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE, pkcs11.CKA_VALUE, pkcs11.CKA_MODULUS}
			t := types[c.a%len(types)]
			v, want := r.w.get(s, o, t)
			template := pkcs11.Template{{Type: t}}
			if err := r.same(se.GetAttributeValue(r.ctx, h, template), want); err != nil || want != none {
				return err
			}
			if !template[0].Equal(pkcs11.Attr(t, v)) {
				return fmt.Errorf("%v: the module says %v, the model %v", t, template[0], pkcs11.Attr(t, v))
			}
			return nil
		}},
		"SetAttributeValue": {weight: 5, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			o, h := r.object(c)
			if o == nil {
				return nil
			}
			label := r.label(c.a)
			want := r.w.relabel(s, o, label)
			return r.same(se.SetAttributeValue(r.ctx, h, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, label)}), want)
		}},
		"FindObjectsInit": {weight: 8, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			q := query{label: r.label(c.a), byCls: c.b%2 == 0, tokens: c.d%3 == 0}
			q.class = []pkcs11.ObjectClass{pkcs11.CKO_DATA, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY}[c.c%3]
			if c.a%7 == 6 && !r.w.shared {
				q.label = ""
			}
			var t pkcs11.Template
			if q.label != "" {
				t = append(t, pkcs11.Attr(pkcs11.CKA_LABEL, q.label))
			}
			if q.byCls {
				t = append(t, pkcs11.Attr(pkcs11.CKA_CLASS, q.class))
			}
			if q.tokens {
				t = append(t, pkcs11.Attr(pkcs11.CKA_TOKEN, true))
			}
			return r.same(se.FindObjectsInit(r.ctx, t), r.w.findInit(s, q))
		}},
		"FindObjects": {weight: 10, run: (*runner).find},
		"FindObjectsFinal": {weight: 6, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			return r.same(se.FindObjectsFinal(r.ctx), r.w.findFinal(s))
		}},
		"DigestInit": {weight: 4, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			return r.same(se.DigestInit(r.ctx, sha256Mech), r.w.digestInit(s))
		}},
		"DigestUpdate": {weight: 4, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			b := message(c)
			return r.same(se.DigestUpdate(r.ctx, b), r.w.digestUpdate(s, b))
		}},
		"Digest":      {weight: 4, run: func(r *runner, c call, s *session, se cryptoki.Session) error { return r.digest(c, s, se, false) }},
		"DigestFinal": {weight: 4, run: func(r *runner, c call, s *session, se cryptoki.Session) error { return r.digest(c, s, se, true) }},
		"SignInit": {weight: 10, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			o, h := r.choose(c, func() *object { return r.key(c, pkcs11.CKO_PRIVATE_KEY) })
			if o == nil {
				return nil
			}
			hashes := c.a%2 == 0
			return r.same(se.SignInit(r.ctx, mechOf(hashes), h), r.w.begin(s, &s.sign, o, pkcs11.CKO_PRIVATE_KEY, hashes))
		}},
		"SignUpdate": {weight: 3, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			b := message(c)
			return r.same(se.SignUpdate(r.ctx, b), r.w.update(s, &s.sign, b))
		}},
		"Sign":      {weight: 6, run: func(r *runner, c call, s *session, se cryptoki.Session) error { return r.sign(c, s, se, false) }},
		"SignFinal": {weight: 3, run: func(r *runner, c call, s *session, se cryptoki.Session) error { return r.sign(c, s, se, true) }},
		"VerifyInit": {weight: 8, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			o, h := r.choose(c, func() *object {
				o := r.key(c, pkcs11.CKO_PUBLIC_KEY)
				if n := len(r.made); n > 0 && c.d%2 == 0 {
					// The key of a signature that there is.
					for _, k := range r.w.objects {
						if k.valid && k.class == pkcs11.CKO_PUBLIC_KEY && k.pair == r.made[n-1].pair {
							o = k
						}
					}
				}
				return o
			})
			if o == nil {
				return nil
			}
			hashes := c.a%2 == 0
			if n := len(r.made); n > 0 && c.a%3 != 0 {
				hashes = r.made[n-1].hashes
			}
			return r.same(se.VerifyInit(r.ctx, mechOf(hashes), h), r.w.begin(s, &s.verify, o, pkcs11.CKO_PUBLIC_KEY, hashes))
		}},
		"VerifyUpdate": {weight: 3, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			b := message(c)
			if n := len(r.made); n > 0 && c.d%3 != 0 {
				b = r.made[n-1].data
			}
			return r.same(se.VerifyUpdate(r.ctx, b), r.w.update(s, &s.verify, b))
		}},
		"Verify":      {weight: 4, run: func(r *runner, c call, s *session, se cryptoki.Session) error { return r.verify(c, s, se, false) }},
		"VerifyFinal": {weight: 3, run: func(r *runner, c call, s *session, se cryptoki.Session) error { return r.verify(c, s, se, true) }},
		"GenerateRandom": {weight: 1, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			b := make([]byte, c.a%40)
			want := none
			switch {
			case s.closed:
				want = pkcs11.CKR_SESSION_HANDLE_INVALID
			case len(b) == 0:
				want = pkcs11.CKR_ARGUMENTS_BAD
			}
			return r.same(se.GenerateRandom(r.ctx, b), want)
		}},
		"SessionCancel": {weight: 2, run: func(r *runner, c call, s *session, se cryptoki.Session) error {
			flags := []uint64{pkcs11.CKF_FIND_OBJECTS, pkcs11.CKF_DIGEST, pkcs11.CKF_SIGN, pkcs11.CKF_VERIFY}[c.a%4]
			err := se.SessionCancel(r.ctx, flags)
			if s.closed {
				return r.same(err, pkcs11.CKR_SESSION_HANDLE_INVALID)
			}
			switch flags {
			case pkcs11.CKF_FIND_OBJECTS:
				s.find = nil
			case pkcs11.CKF_DIGEST:
				s.digest = nil
			case pkcs11.CKF_SIGN:
				s.sign = nil
			case pkcs11.CKF_VERIFY:
				s.verify = nil
			}
			return r.same(err, none)
		}},
	}
	opNames = slices.Sorted(maps.Keys(ops))
}

// message makes data of a call: now and then empty, or longer than a digest.
func message(c call) []byte {
	n := []int{32, 32, 20, 0, 64, 65, 200, 1}[c.b%8]
	return bytes.Repeat([]byte{byte(c.c)}, n)
}

func (r *runner) create(c call, s *session, se cryptoki.Session) error {
	o := &object{tag: r.tag(), class: pkcs11.CKO_DATA, token: c.a%2 == 0, private: c.b%3 == 0, fixed: c.c%8 == 0,
		single: c.c%8 == 1, forever: c.c%16 == 2, label: r.label(c.d), value: []byte{1, byte(c.d)}}
	if o.forever && o.token {
		o.forever = false // it would outlive the test
	}
	h, err := se.CreateObject(r.ctx, pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, o.class), pkcs11.Attr(pkcs11.CKA_TOKEN, o.token), pkcs11.Attr(pkcs11.CKA_PRIVATE, o.private),
		pkcs11.Attr(pkcs11.CKA_MODIFIABLE, !o.fixed), pkcs11.Attr(pkcs11.CKA_COPYABLE, !o.single), pkcs11.Attr(pkcs11.CKA_DESTROYABLE, !o.forever),
		pkcs11.Attr(pkcs11.CKA_LABEL, o.label), pkcs11.Attr(pkcs11.CKA_VALUE, o.value), pkcs11.Attr(pkcs11.CKA_OBJECT_ID, []byte(o.tag)),
	})
	if err := r.same(err, r.w.make(s, o)); err != nil || !o.exists {
		return err
	}
	if err := r.fresh(h); err != nil {
		return err
	}
	r.add(o, h)
	return nil
}

func (r *runner) generate(c call, s *session, se cryptoki.Session) error {
	r.pairs++
	token := c.a%2 == 0
	pub := &object{tag: r.tag(), class: pkcs11.CKO_PUBLIC_KEY, pair: r.pairs, token: token, label: r.label(c.d), useless: c.b%6 == 0, fixed: c.c%8 == 0}
	// A key on the token is private: one that is not could be used without the
	// login under which a token may have sealed it.
	priv := &object{tag: r.tag(), class: pkcs11.CKO_PRIVATE_KEY, pair: r.pairs, token: token, private: token || c.b%8 != 7, label: r.label(c.d + 1), useless: c.b%6 == 1, single: c.c%8 == 1}
	hPub, hPriv, err := se.GenerateKeyPair(r.ctx, keyGen,
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256), pkcs11.Attr(pkcs11.CKA_TOKEN, token), pkcs11.Attr(pkcs11.CKA_LABEL, pub.label),
			pkcs11.Attr(pkcs11.CKA_ID, []byte(pub.tag)), pkcs11.Attr(pkcs11.CKA_VERIFY, !pub.useless), pkcs11.Attr(pkcs11.CKA_MODIFIABLE, !pub.fixed)},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, token), pkcs11.Attr(pkcs11.CKA_PRIVATE, priv.private), pkcs11.Attr(pkcs11.CKA_LABEL, priv.label),
			pkcs11.Attr(pkcs11.CKA_ID, []byte(priv.tag)), pkcs11.Attr(pkcs11.CKA_SIGN, !priv.useless), pkcs11.Attr(pkcs11.CKA_COPYABLE, !priv.single)})
	if err := r.same(err, r.w.make(s, pub, priv)); err != nil || !pub.exists {
		return err
	}
	if err := r.fresh(hPub); err != nil {
		return err
	}
	if err := r.fresh(hPriv); err != nil {
		return err
	}
	r.add(pub, hPub)
	r.add(priv, hPriv)
	return nil
}

func (r *runner) copy(c call, s *session, se cryptoki.Session) error {
	from, h := r.object(c)
	if from == nil {
		return nil
	}
	to := *from
	to.tag, to.owner, to.exists, to.valid, to.hidden = r.tag(), nil, false, false, false
	to.token, to.label = c.a%2 == 0, r.label(c.d)
	to.single, to.forever = false, false
	if from.fixed {
		to.fixed = true
	}
	template := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, to.token), pkcs11.Attr(pkcs11.CKA_LABEL, to.label)}
	if from.class == pkcs11.CKO_PRIVATE_KEY && !from.private {
		to.token = false
		template[0].Value = false
	}
	if from.class == pkcs11.CKO_DATA {
		template = append(template, pkcs11.Attr(pkcs11.CKA_OBJECT_ID, []byte(to.tag)))
	} else {
		template = append(template, pkcs11.Attr(pkcs11.CKA_ID, []byte(to.tag)))
	}
	if from.forever {
		to.forever = true
		to.token = false
		template[0].Value = false
	}
	copied, err := se.CopyObject(r.ctx, h, template)
	if err := r.same(err, r.w.copy(s, from, &to)); err != nil || !to.exists {
		return err
	}
	if err := r.fresh(copied); err != nil {
		return err
	}
	r.add(&to, copied)
	return nil
}

func (r *runner) find(c call, s *session, se cryptoki.Session) error {
	handles := make([]pkcs11.ObjectHandle, []int{1, 3, 50, 1, 0}[c.a%5])
	want, code := r.w.findMore(s, len(handles))
	n, err := se.FindObjects(r.ctx, handles)
	if err := r.same(err, code); err != nil || code != none {
		return err
	}
	if err := sameNumber("objects found", n, want); err != nil {
		return err
	}
	for _, h := range handles[:n] {
		tag, err := tagOf(r.ctx, se, h)
		if err != nil {
			return err
		}
		o := r.byTag[tag]
		if o == nil || !s.find.left[o] {
			return fmt.Errorf("the module finds %q, which the model does not, or not again", tag)
		}
		delete(s.find.left, o)
		r.handles[o], o.valid = h, true
	}
	return nil
}

func tagOf(ctx context.Context, se cryptoki.Session, h pkcs11.ObjectHandle) (string, error) {
	t := pkcs11.Template{{Type: pkcs11.CKA_ID}, {Type: pkcs11.CKA_OBJECT_ID}}
	err := se.GetAttributeValue(ctx, h, t)
	for _, a := range t {
		if b := a.Bytes(); len(b) > 0 {
			return string(b), nil
		}
	}
	return "", fmt.Errorf("the module finds object %d without CKA_ID and CKA_OBJECT_ID: %v", h, err)
}

func (r *runner) digest(c call, s *session, se cryptoki.Session, final bool) error {
	b, out := message(c), room(c.a, 32)
	want, n, code := r.w.digest(s, final, b, roomOf(out))
	var got int
	var err error
	if final {
		got, err = se.DigestFinal(r.ctx, out)
	} else {
		got, err = se.Digest(r.ctx, b, out)
	}
	if err := r.same(err, code); err != nil {
		return err
	}
	if code != none && code != pkcs11.CKR_BUFFER_TOO_SMALL {
		return nil
	}
	if err := sameNumber("length", got, n); err != nil {
		return err
	}
	if want != nil && !bytes.Equal(out[:got], want) {
		return fmt.Errorf("the module makes the digest %x, the model %x", out[:got], want)
	}
	return nil
}

func (r *runner) sign(c call, s *session, se cryptoki.Session, final bool) error {
	b, out := message(c), room(c.a, 64)
	op, n, code := r.w.sign(s, final, b, roomOf(out))
	var got int
	var err error
	if final {
		got, err = se.SignFinal(r.ctx, out)
	} else {
		got, err = se.Sign(r.ctx, b, out)
	}
	if err := r.same(err, code); err != nil {
		return err
	}
	if code != none && code != pkcs11.CKR_BUFFER_TOO_SMALL {
		return nil
	}
	if err := sameNumber("length", got, n); err != nil {
		return err
	}
	if op != nil {
		r.made = append(r.made, &made{op.key.pair, op.hashes, op.bytes, bytes.Clone(out[:got])})
	}
	return nil
}

func (r *runner) verify(c call, s *session, se cryptoki.Session, final bool) error {
	var m *made
	if len(r.made) > 0 {
		m = r.made[len(r.made)-1-max(c.a%6-2, 0)%len(r.made)]
	}
	b, signature := message(c), make([]byte, 64)
	if m != nil {
		signature = bytes.Clone(m.bytes)
		if c.b%3 != 0 {
			b = m.data
		}
	}
	changed := c.c%7 == 1
	switch {
	case changed:
		signature[c.d%64] ^= 1 << (c.c % 8)
	case c.c%7 == 2:
		signature = signature[:63]
	case c.c%7 == 3:
		signature = nil
	}
	op, code := r.w.ends(s, final)
	if op != nil {
		if !final {
			op.bytes = b
		}
		code = op.judge(m, signature, changed)
	}
	if final {
		return r.same(se.VerifyFinal(r.ctx, signature), code)
	}
	return r.same(se.Verify(r.ctx, b, signature), code)
}

// follows are calls that often come after another in the same session.
var follows = map[string][][]string{
	"OpenSession":     {{"Login"}},
	"Login":           {{"GenerateKeyPair"}, {"CreateObject"}},
	"FindObjectsInit": {{"FindObjects"}, {"FindObjects", "FindObjects", "FindObjectsFinal"}},
	"DigestInit":      {{"Digest"}, {"DigestUpdate", "DigestFinal"}, {"DigestUpdate", "DigestUpdate"}},
	"SignInit":        {{"Sign"}, {"Sign", "Sign"}, {"SignUpdate", "SignFinal"}, {"SignUpdate", "Sign"}},
	"Sign":            {{"VerifyInit", "Verify"}},
	"SignFinal":       {{"VerifyInit", "Verify"}, {"VerifyInit", "VerifyUpdate", "VerifyFinal"}},
	"VerifyInit":      {{"Verify"}, {"VerifyUpdate", "VerifyFinal"}},
}

// random makes the calls of a sequence.
func random(rnd *rand.Rand, n int, shared bool) []call {
	var names []string
	total := 0
	for _, name := range opNames {
		if o := ops[name]; !shared || !o.alone {
			names = append(names, name)
			total += o.weight
		}
	}
	calls := make([]call, 0, n)
	add := func(op string, session int) {
		calls = append(calls, call{op: op, number: len(calls) + 1, session: session, object: rnd.IntN(64),
			a: rnd.IntN(256), b: rnd.IntN(256), c: rnd.IntN(256), d: rnd.IntN(256)})
	}
	for len(calls) < n {
		at := rnd.IntN(total)
		name := ""
		for _, name = range names {
			if at -= ops[name].weight; at < 0 {
				break
			}
		}
		session := rnd.IntN(12)
		add(name, session)
		if next := follows[name]; len(next) > 0 && rnd.IntN(4) > 0 {
			for _, name := range next[rnd.IntN(len(next))] {
				if !shared || !ops[name].alone {
					add(name, session)
				}
			}
		}
	}
	return calls[:n]
}
