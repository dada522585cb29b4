package soft

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A medium is a kind of store on a simulated disk.
type medium struct {
	name    string
	batcher bool
	open    func(m *paltest.Medium) (pal.Store, error)
	// settled is how many files a store of n records has when nothing is left of
	// an interruption.
	settled func(records int) int
}

var media = []medium{
	{"fileflash", true, func(m *paltest.Medium) (pal.Store, error) {
		s, err := fileflash.OpenFS(m, "medium", nil)
		if err != nil {
			return nil, err
		}
		return s, nil
	}, func(records int) int { return min(records, 1) }},
	{"a file a record", false, func(m *paltest.Medium) (pal.Store, error) { return &files{m: m}, nil }, func(records int) int { return records }},
}

// files is what a board maker might write: each record in a file of its own, which
// is written beside and renamed. It has the four methods of a store and no more.
type files struct {
	m     *paltest.Medium
	dirty bool // names may not be durable
}

const besides = ".new"

func (f *files) Save(name string, data []byte) error {
	if err := pal.CheckRecord(name, data); err != nil {
		return err
	}
	if err := f.m.Remove(besides); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.error(err)
	}
	file, err := f.m.OpenFile(besides, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return f.error(err)
	}
	if _, err = file.WriteAt(data, 0); err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return f.error(err)
	}
	if err := f.m.Rename(besides, name); err != nil {
		return f.error(err)
	}
	return f.syncDir()
}

func (f *files) syncDir() error {
	err := f.m.SyncDir()
	f.dirty = err != nil
	return f.error(err)
}

func (f *files) Load(name string) ([]byte, error) {
	file, err := f.m.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, _, err := file.Status()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err = file.ReadAt(data, 0)
	return data, err
}

func (f *files) Remove(name string) error {
	err := f.m.Remove(name)
	if err == nil || f.dirty && errors.Is(err, fs.ErrNotExist) {
		return errors.Join(f.error(err), f.syncDir())
	}
	return f.error(err)
}

func (f *files) Names() ([]string, error) {
	names, err := f.m.Names()
	return slices.DeleteFunc(names, func(name string) bool { return name == besides }), err
}

func (f *files) error(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("files: %w: %w", pal.ErrFull, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("files: %w: %w", pal.ErrReadOnly, err)
	}
	return err
}

// TestFiles makes sure that what fails below is the token.
func TestFiles(t *testing.T) {
	paltest.TestMedium(t, media[1].open)
}

// onMedium is a step on one kind of store.
type onMedium struct {
	step
	medium
	start         *paltest.Medium
	before, after condition
	checked       map[[sha256.Size]byte]bool
}

// prepare makes the medium on which the step begins, and learns what the token is
// before and after it.
func prepare(t *testing.T, md medium, s step, fill func(token *Token)) *onMedium {
	t.Helper()
	o := &onMedium{step: s, medium: md, start: paltest.NewMedium(), checked: map[[sha256.Size]byte]bool{}}
	if !s.blank {
		store, err := md.open(o.start)
		must(t, err)
		stepBase(t, store)
		if fill != nil {
			token := openToken(t, store)
			login(t, token)
			fill(token)
			must(t, token.Close())
		}
	}
	var err error
	o.before, err = o.inspect(o.start.Clone())
	must(t, err)
	end := o.start.Clone()
	must(t, o.run(end))
	o.after, err = o.inspect(end)
	must(t, err)
	if strings.Contains(s.name, "with a wrong") && o.after.tries == o.before.tries {
		t.Fatal("the wrong PIN is not counted")
	}
	return o
}

// run does the step.
func (o *onMedium) run(m *paltest.Medium) error {
	store, err := o.open(m)
	if err != nil {
		return err
	}
	token, err := New(store, cheap)
	if err != nil {
		return err
	}
	defer token.Close()
	if err := o.enter(token); err != nil {
		return err
	}
	m.Done()
	if err := o.do(token); err != nil {
		return err
	}
	m.Done()
	return nil
}

// inspect finds the condition of the token on a medium, and sees that nothing is
// left over on it.
func (o *onMedium) inspect(m *paltest.Medium) (condition, error) {
	store, err := o.open(m)
	if err != nil {
		return condition{}, err
	}
	c, err := inspect(store)
	if err != nil || c.what == "not initialized" {
		return c, err
	}
	records, err := store.Names()
	if err != nil {
		return c, err
	}
	names, err := m.Names()
	if err == nil && len(names) != o.settled(len(records)) {
		err = fmt.Errorf("files are left over: %q", names)
	}
	return c, err
}

// sum is the same for media that hold the same but for the content of what is
// written besides: that this is not looked at is for the tests of the stores.
func sum(c *paltest.Cut) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	names, err := c.Medium.Names()
	if err != nil {
		return sum, err
	}
	for _, name := range names {
		var data []byte
		if name != besides && name != "flash.new" {
			if data, err = c.Medium.ReadFile(name); err != nil {
				return sum, err
			}
		}
		fmt.Fprintf(h, "%d %s %d ", c.Done, name, len(data))
		h.Write(data)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// check compares what is found after something went wrong with what is allowed.
func (o *onMedium) check(c *paltest.Cut) error {
	key, err := sum(c)
	if err != nil || o.checked[key] {
		return err
	}
	o.checked[key] = true
	got, err := o.inspect(c.Medium)
	switch {
	case err != nil:
		return err
	case c.Done == 2:
		return same(got, o.after)
	case c.Done == 0:
		// Whoever logs in spends a try and gets it back.
		login := step{spends: []role{o.who}}
		return login.between(got, o.before, o.before)
	}
	return o.between(got, o.before, o.after)
}

// sampled reports whether a test does a step. With the race detector, which makes
// everything slow and is not what finds a missing sync, each kind of test does
// other ones, and together they do all.
func sampled(step, kind int) bool { return !raceDetector || step%(2*len(media)) == kind }

// TestPowerCutOnMedium does every operation that changes a token, and cuts the
// power before, within and after every call to the medium, with what was not
// synced lost, kept, torn and in another order; and kills the process there. On
// reopening, the token is the old one or the new one.
func TestPowerCutOnMedium(t *testing.T) {
	for kind, md := range media {
		for i, s := range steps {
			if !sampled(i, kind) {
				continue
			}
			t.Run(md.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				o := prepare(t, md, s, nil)
				paltest.PowerCuts(t, o.start, o.run, o.check)
				paltest.Kills(t, o.start, o.run, o.check)
			})
		}
	}
}

// TestPowerCutWhileCompacting: the same where the log is about to be compacted.
func TestPowerCutWhileCompacting(t *testing.T) {
	for _, s := range steps {
		switch s.name {
		case "generate in place of another pair", "login with a wrong PIN":
		case "SetPIN", "InitToken", "destroy a pair", "update a private object":
			if raceDetector {
				continue
			}
		default:
			continue // is no other way of writing
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			o := prepare(t, media[0], s, func(token *Token) {
				// Until there is room for the login, and no more: it writes the tries
				// twice.
				store := token.store.(*fileflash.Store)
				tries, err := store.Load(nameTries)
				must(t, err)
				untilCompacted := func() int {
					for n := 1; n < 10_000; n++ {
						size := store.Stats().Size
						must(t, store.Save(nameTries, tries))
						if store.Stats().Size < size {
							return n
						}
					}
					t.Fatal("the log is never compacted")
					return 0
				}
				untilCompacted()
				n := untilCompacted() - 1
				if s.who != nobody {
					n -= 2
				}
				for range n {
					must(t, store.Save(nameTries, tries))
				}
			})
			end := o.start.Clone()
			must(t, o.run(end))
			if end.Usage().Renames == 0 {
				t.Fatal("the log is not compacted")
			}
			paltest.PowerCuts(t, o.start, o.run, o.check)
			paltest.Kills(t, o.start, o.run, o.check)
		})
	}
}

// TestFaultsOnMedium lets every call to the medium fail in turn, once or from then
// on: the error says why and what helps, nothing is lost, and the same token goes
// on when the fault has passed.
func TestFaultsOnMedium(t *testing.T) {
	for kind, md := range media {
		for i, s := range steps {
			if !sampled(i, len(media)+kind) || !md.batcher && !s.several() {
				continue
			}
			t.Run(md.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				testFaults(t, prepare(t, md, s, nil))
			})
		}
	}
}

func testFaults(t *testing.T, o *onMedium) {
	var token *Token // nil: it could not be opened
	var entered bool
	run := func(m *paltest.Medium) error {
		token, entered = nil, false
		store, err := o.open(m)
		if err != nil {
			return err
		}
		if token, err = New(store, cheap); err != nil {
			return err
		}
		if err := o.enter(token); err != nil {
			return err
		}
		entered = true
		return o.do(token)
	}
	paltest.Faults(t, o.start, run, func(f *paltest.Fault) error {
		if err := explained(f, token != nil); err != nil {
			return err
		}
		m := f.Medium
		if f.Live {
			m = m.Clone()
		}
		got, err := o.inspect(m)
		if err != nil {
			return err
		}
		// Tries that cannot be written are counted in memory, or not taken back.
		loose := o.step
		loose.spends = append(slices.Clone(o.spends), o.who)
		if err := loose.between(got, o.before, o.after); err != nil {
			return err
		}
		if f.Err == nil && got.what != o.after.what {
			return fmt.Errorf("no error, but the token is\n%s", got.what)
		}
		if !f.Live || token == nil {
			return nil
		}
		defer token.Close()
		if f.Err != nil && got.what == o.before.what {
			// The fault has passed: the same token does it now.
			if !entered {
				if err := o.enter(token); err != nil {
					return fmt.Errorf("logging in after %w: %w", f.Err, err)
				}
			}
			if err := o.do(token); err != nil {
				return fmt.Errorf("again, after %w: %w", f.Err, err)
			}
		}
		if list, err := token.Objects(ctx); err != nil {
			return fmt.Errorf("the objects, after %v: %w", f.Err, err)
		} else if o.who == userRole {
			if err := useAll(list); err != nil {
				return fmt.Errorf("the objects, after %v: %w", f.Err, err)
			}
		}
		if got, err = o.inspect(f.Medium); err == nil && got.what != o.after.what {
			err = fmt.Errorf("after %v and another try the token is\n%s", f.Err, got.what)
		}
		return err
	})
}

// explained returns an error if that of a step does not say what is wrong with the
// medium, in Cryptoki's terms too, and what can be done about it.
func explained(f *paltest.Fault, byToken bool) error {
	if f.Err == nil {
		return nil
	}
	if !errors.Is(f.Err, f.Errno) {
		return fmt.Errorf("the error %q hides the cause", f.Err)
	}
	if !byToken {
		return nil // it is the store's, on opening
	}
	code, cure := pkcs11.CKR_DEVICE_ERROR, "kernel's log"
	switch f.Errno {
	case syscall.ENOSPC:
		code, cure = pkcs11.CKR_DEVICE_MEMORY, "make room"
	case syscall.EROFS:
		code, cure = pkcs11.CKR_TOKEN_WRITE_PROTECTED, "writable"
	}
	if got := pkcs11.CodeOf(f.Err); got != code {
		return fmt.Errorf("the error %q is %v, want %v", f.Err, got, code)
	}
	if !strings.Contains(f.Err.Error(), cure) {
		return fmt.Errorf("the error %q does not say what helps (%s)", f.Err, cure)
	}
	return nil
}

// TestWritableAgain: a medium that was mounted read-only and is not any more is
// written by the token that is open, from the next login on.
func TestWritableAgain(t *testing.T) {
	for _, md := range media {
		m := paltest.NewMedium()
		store, err := md.open(m)
		must(t, err)
		stepBase(t, store)
		m.SetReadOnly(true)
		if store, err = md.open(m); err != nil {
			t.Fatal(err)
		}
		token := openToken(t, store)
		login(t, token)
		must(t, use(objects(t, token)))
		wantFlags(t, token, pkcs11.CKF_WRITE_PROTECTED, pkcs11.CKF_WRITE_PROTECTED)
		wantCode(t, "create", createData(token, "new", true, nil), pkcs11.CKR_TOKEN_WRITE_PROTECTED)
		m.SetReadOnly(false)
		login(t, token)
		wantFlags(t, token, pkcs11.CKF_WRITE_PROTECTED, 0)
		must(t, createData(token, "new", true, nil))
	}
}

// TestFlippedBytesOnMedium changes every byte of every file of a token, and cuts
// each file off at every length. It is noticed, by the time that an object could be
// used, with the name of the file or the record; or, of a log, the byte is one of
// the marks. No key and no certificate is another one.
func TestFlippedBytesOnMedium(t *testing.T) {
	for _, md := range media {
		t.Run(md.name, func(t *testing.T) {
			t.Parallel()
			start := paltest.NewMedium()
			store, err := md.open(start)
			must(t, err)
			token := newToken(t, store)
			login(t, token)
			generateP256(t, token, "key")
			_, err = token.CreateObject(ctx, append(common(pkcs11.CKO_CERTIFICATE, "Root Cert", false), attrs(pkcs11.CKA_VALUE, []byte("the root"))...), nil)
			must(t, err)
			must(t, createData(token, "data", true, nil))
			want := map[string]string{}
			for _, o := range objects(t, token) {
				want[o.ID()] = fmt.Sprint(o.Attributes())
			}
			must(t, token.Close())
			if b, ok := store.(pal.Batcher); ok {
				// Without what is left of former changes, which is of no use to anybody.
				records, err := paltest.Records(b)
				must(t, err)
				var all []pal.Change
				for name, data := range records {
					all = append(all, pal.Change{Name: name, Data: data})
				}
				start = paltest.NewMedium()
				store, err = md.open(start)
				must(t, err)
				must(t, store.(pal.Batcher).Batch(all))
			}
			if s, ok := store.(*fileflash.Store); ok { // nor the room behind the log
				log, err := start.ReadFile("flash.log")
				must(t, err)
				start.WriteFile("flash.log", log[:s.Stats().Size+8])
			}
			noticed, harmless := 0, 0
			check := func(c *paltest.Cut) error {
				err := released(md, c.Medium, want)
				switch {
				case err == nil:
					harmless++
				case errors.Is(err, errWrong):
					return err
				case !strings.Contains(err.Error(), "flash.log") && !strings.Contains(err.Error(), "record ") && !errors.Is(err, pkcs11.CKR_PIN_INCORRECT):
					return fmt.Errorf("what is damaged is not named: %w", err)
				default:
					noticed++
				}
				return nil
			}
			limit := 1 << 20 // every byte
			if raceDetector {
				limit = 100
			}
			paltest.FlipBytes(t, start, limit, check)
			t.Logf("%d changes noticed, %d harmless", noticed, harmless)
			// Of a log with one entry, the marks of eight bytes before and behind it may
			// be missing: they tell damage from an interruption.
			if md.batcher && harmless > 2*16 || !md.batcher && harmless > 0 {
				t.Errorf("%d changes were not noticed, %d were", harmless, noticed)
			}
			if md.batcher {
				return // one that is cut off is as an interruption leaves it
			}
			names, err := start.Names()
			must(t, err)
			for _, name := range names {
				data, err := start.ReadFile(name)
				must(t, err)
				for n := range data {
					m := start.Clone()
					m.WriteFile(name, data[:n])
					if err := released(md, m, want); err == nil || errors.Is(err, errWrong) {
						t.Errorf("%s cut off at %d: %v", name, n, err)
					}
				}
			}
		})
	}
}

var errWrong = errors.New("released what was never stored")

// released opens a token, logs in and uses what it releases, and compares that
// with the attributes that objects should have. It returns the first error of the
// token, errWrong if something is not as it was, and nil if all is.
func released(md medium, m *paltest.Medium, want map[string]string) error {
	store, err := md.open(m)
	if err != nil {
		return err
	}
	token, err := New(store, cheap)
	if err != nil {
		return err
	}
	defer token.Close()
	if err := token.Login(ctx, pkcs11.CKU_USER, userPIN); err != nil {
		return err
	}
	list, err := token.Objects(ctx)
	for _, o := range list {
		if got := fmt.Sprint(o.Attributes()); got != want[o.ID()] {
			return fmt.Errorf("%w: %s, want %s", errWrong, got, want[o.ID()])
		}
	}
	if err != nil {
		return err
	}
	if len(list) != len(want) {
		return fmt.Errorf("%w: %d objects and no error", errWrong, len(list))
	}
	return useAll(list)
}
