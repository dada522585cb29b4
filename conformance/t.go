package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A T is what a case works with: the module and sessions, all of whose calls it
// notes, and its verdict.
type T struct {
	ctx    context.Context
	e      *env
	c      *Case
	rec    *recorder
	parent *T   // of a thread
	keep   bool // what it creates outlives the case

	mu       sync.Mutex
	failures []Failure
	checks   int
	sessions []*session
	objects  []pkcs11.ObjectHandle
	labels   []string        // that label has given out
	codes    map[string]bool // "SignInit CKR_OK": what was wanted, and came
	cleanups []func()
}

// root is the T of the case that a thread belongs to.
func (t *T) root() *T {
	for t.parent != nil {
		t = t.parent
	}
	return t
}

func (t *T) opened(s *session) {
	r := t.root()
	r.mu.Lock()
	r.sessions = append(r.sessions, s)
	r.mu.Unlock()
}

func (t *T) created(h pkcs11.ObjectHandle) {
	if t.keep {
		return
	}
	r := t.root()
	r.mu.Lock()
	r.objects = append(r.objects, h)
	r.mu.Unlock()
}

func (t *T) checked() {
	r := t.root()
	r.mu.Lock()
	r.checks++
	r.mu.Unlock()
}

func (t *T) failed() bool {
	r := t.root()
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

func (t *T) fail(f Failure) {
	if f.Call == "" {
		f.Call = t.rec.lastCall()
	}
	r := t.root()
	r.mu.Lock()
	r.failures = append(r.failures, f)
	r.mu.Unlock()
}

// errorf notes a failure and goes on; fatalf ends the case.
func (t *T) errorf(format string, args ...any) { t.fail(Failure{What: fmt.Sprintf(format, args...)}) }

func (t *T) fatalf(format string, args ...any) {
	t.errorf(format, args...)
	runtime.Goexit()
}

// check ends the case with what went wrong unless ok.
func (t *T) check(ok bool, format string, args ...any) {
	t.checked()
	if !ok {
		t.fatalf(format, args...)
	}
}

// want ends the case unless err is one of the codes; nil if none is given.
func (t *T) want(err error, codes ...pkcs11.Error) {
	t.checked()
	if isOneOf(err, codes) {
		r, seen := t.root(), t.rec.lastOp()+" "+codeName(err)
		r.mu.Lock()
		if r.codes == nil {
			r.codes = map[string]bool{}
		}
		r.codes[seen] = true
		r.mu.Unlock()
		return
	}
	t.fail(Failure{What: "the code is another", Got: codeName(err), Want: codeNames(codes)})
	runtime.Goexit()
}

// ok is want without a code, for steps on the way.
func (t *T) ok(err error) { t.want(err) }

func isOneOf(err error, codes []pkcs11.Error) bool {
	if len(codes) == 0 {
		return err == nil
	}
	return slices.ContainsFunc(codes, func(c pkcs11.Error) bool {
		if c == 0 {
			return err == nil
		}
		var got pkcs11.Error
		return errors.As(err, &got) && got == c
	})
}

func codeNames(codes []pkcs11.Error) string {
	if len(codes) == 0 {
		return "CKR_OK"
	}
	var s []string
	for _, c := range codes {
		if c == 0 {
			s = append(s, "CKR_OK")
		} else {
			s = append(s, c.Error())
		}
	}
	return strings.Join(s, " or ")
}

// equal ends the case unless got is want. Both are public.
func (t *T) equal(what string, got, want any) {
	t.checked()
	if reflect.DeepEqual(got, want) {
		return
	}
	if a, ok := got.([]byte); ok {
		if b, ok := want.([]byte); ok && bytes.Equal(a, b) {
			return
		}
	}
	t.fail(Failure{What: what, Got: show(got), Want: show(want)})
	runtime.Goexit()
}

func show(v any) string {
	if b, ok := v.([]byte); ok {
		if len(b) > 80 {
			return fmt.Sprintf("%x… (%d bytes)", b[:80], len(b))
		}
		return fmt.Sprintf("%x", b)
	}
	return fmt.Sprint(v)
}

// step names what a loop or a table is at, for the failures of f.
func (t *T) step(name string, f func()) {
	t.root().mu.Lock()
	before := len(t.root().failures)
	t.root().mu.Unlock()
	defer func() {
		r := t.root()
		r.mu.Lock()
		for i := range r.failures[before:] {
			r.failures[before+i].What = name + ": " + r.failures[before+i].What
		}
		r.mu.Unlock()
	}()
	f()
}

// cleanup runs f when the case is over, last one first.
func (t *T) cleanup(f func()) {
	r := t.root()
	r.mu.Lock()
	r.cleanups = append(r.cleanups, f)
	r.mu.Unlock()
}

// module returns the module, opened if it is closed.
func (t *T) module() *module {
	mod, err := t.e.module(t.ctx)
	if err != nil {
		t.fatalf("open: %v", err)
	}
	return &module{mod, t}
}

// closeModule closes the module: C_Finalize.
func (t *T) closeModule() {
	t.serialOnly()
	err := t.module().Close()
	t.e.closed()
	r := t.root()
	r.mu.Lock()
	r.objects = nil // their handles mean nothing to the next module
	r.mu.Unlock()
	t.ok(err)
}

// reopen closes the module and opens it again: a restart of the program.
func (t *T) reopen() *module {
	t.closeModule()
	return t.module()
}

func (t *T) serialOnly() {
	if !t.root().c.serial {
		panic("conformance: case " + t.c.ID + " is not serial")
	}
}

// open opens a session without logging in.
func (t *T) open(flags pkcs11.SessionFlags) *session {
	s, err := t.module().OpenSession(t.ctx, t.e.slot, flags)
	t.ok(err)
	return s.(*session)
}

// session opens a read-write session with the user logged in.
func (t *T) session() *session {
	s := t.open(rwSession)
	t.login(s)
	return s
}

// closedSession returns a session that is closed already: what a handle of 0 is
// in C.
func (t *T) closedSession() *session {
	s := t.open(rwSession)
	t.ok(s.Close())
	return s
}

// login logs the user in, unless somebody has, or the token has no PIN.
func (t *T) login(s *session) {
	if t.e.can.login {
		t.want(s.Login(t.ctx, pkcs11.CKU_USER, t.e.target.UserPIN), 0, pkcs11.CKR_USER_ALREADY_LOGGED_IN)
	}
}

// label returns a label for an object of this case. What has it is removed when
// the suite is done.
func (t *T) label(name string) string {
	l := t.root().c.ID + " " + name
	if len(l) > 32 {
		l = l[:32]
	}
	t.e.remember(l)
	r := t.root()
	r.mu.Lock()
	r.labels = append(r.labels, l)
	r.mu.Unlock()
	return l
}

// threads runs f in n goroutines, each with a T of its own.
func (t *T) threads(n int, f func(t *T, i int)) {
	var wg sync.WaitGroup
	threads := make([]*T, n)
	for i := range n {
		thread := &T{ctx: t.ctx, e: t.e, c: t.c, rec: &recorder{}, parent: t}
		threads[i] = thread
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer thread.catch()
			f(thread, i)
		}()
	}
	wg.Wait()
	for i, thread := range threads {
		t.rec.absorb(fmt.Sprintf("thread %d of %d:", i+1, n), thread.rec, t.failed())
	}
	if t.failed() {
		runtime.Goexit()
	}
}

// catch turns a panic, of the case or of the module, into a failure.
func (t *T) catch() {
	if r := recover(); r != nil {
		t.errorf("panic: %v\n%s", r, debug.Stack())
	}
}

// finish closes and removes what the case left, and checks that it checked
// something.
func (t *T) finish() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		func() {
			defer t.catch()
			t.cleanups[i]()
		}()
	}
	defer t.catch()
	t.sweep()
	for _, s := range t.sessions {
		s.Session.Close()
	}
	if t.checks == 0 && !t.failed() {
		t.errorf("the case checked nothing")
	}
}

// sweep destroys the objects that the case created. Handles are never used
// twice, so that what is gone is only not found.
func (t *T) sweep() {
	if len(t.objects)+len(t.labels) == 0 || !t.e.can.destroy {
		return
	}
	t.e.mu.Lock()
	mod, s := t.e.mod, t.e.keeper
	t.e.mu.Unlock()
	if mod == nil {
		return
	}
	if s == nil {
		var err error
		if s, err = mod.OpenSession(context.WithoutCancel(t.ctx), t.e.slot, rwSession); err != nil {
			return
		}
		defer s.Close()
		if t.e.can.login {
			s.Login(context.WithoutCancel(t.ctx), pkcs11.CKU_USER, t.e.target.UserPIN)
		}
	}
	// A private object has another handle after a logout.
	for _, label := range t.labels {
		if found, err := findAll(context.WithoutCancel(t.ctx), s, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, label)}); err == nil {
			t.objects = append(t.objects, found...)
		}
	}
	for _, h := range t.objects {
		destroy(context.WithoutCancel(t.ctx), s, h)
	}
}

func destroy(ctx context.Context, s cryptoki.Session, h pkcs11.ObjectHandle) {
	if h != 0 {
		s.DestroyObject(ctx, h)
	}
}
