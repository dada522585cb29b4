package model

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// sequence is how many calls are made on one token before a new one is opened.
const sequence = 400

// Config describes a comparison.
type Config struct {
	// Open returns a module with an initialized token in its first slot that
	// holds no objects, on which P-256 keys can be generated and copied. It is
	// called once for every 400 calls, and for each try to make a failing
	// sequence shorter. The module is closed afterwards.
	Open func(ctx context.Context) (cryptoki.Module, error)
	// UserPIN and SOPIN are the PINs of the token.
	UserPIN, SOPIN []byte
	// LoginToWrite says that the token, stricter than the standard, lets nobody
	// change token objects in a public session (CKR_USER_NOT_LOGGED_IN), as one
	// does that authenticates what it stores.
	LoginToWrite bool
	// Calls is how many calls to make in all.
	Calls int
	// Seed determines the calls.
	Seed uint64
	// Parallel, if more than 1, is the number of goroutines that share each
	// token, each with sessions and objects of its own and a model for them. The
	// user is then logged in all the time.
	Parallel int
	// Seen, if not nil, is filled with how often each call returned each code:
	// Seen["Sign CKR_DATA_LEN_RANGE"]. Not with Parallel.
	Seen map[string]int
	// Progress, if not nil, is told how many calls have been made.
	Progress func(calls int)
}

// A Difference is a sequence of calls after which model and module disagree.
type Difference struct {
	Seed     uint64   // of the sequence: Config.Seed plus its number
	Calls    []string // the calls of the shortest sequence found; the last one shows the difference
	Original int      // how many calls the sequence had before it was made shorter
	Err      error    // what the difference is
}

func (d *Difference) Error() string {
	return fmt.Sprintf("seed %d: after %d calls (of %d before shrinking): %v\n  %s", d.Seed, len(d.Calls), d.Original, d.Err, strings.Join(d.Calls, "\n  "))
}

// Compare makes random calls until they are as many as cfg asks for, or model and
// module disagree: the error is then a *Difference. Any other error is one of
// Open.
func Compare(ctx context.Context, cfg Config) error {
	done := 0
	for n := uint64(0); done < cfg.Calls; n++ {
		seed := cfg.Seed + n
		if cfg.Parallel > 1 {
			if err := cfg.parallel(ctx, seed); err != nil {
				return err
			}
			done += cfg.Parallel * sequence
		} else {
			calls := random(rand.New(rand.NewPCG(seed, 0)), sequence, false)
			r, at, err := cfg.try(ctx, calls)
			if err != nil && at == 0 {
				return err
			}
			if err != nil {
				return cfg.shrink(ctx, seed, r.pinned(calls[:at]), err)
			}
			done += sequence
		}
		if cfg.Progress != nil {
			cfg.Progress(done)
		}
	}
	return nil
}

// try carries calls out on a new token. It returns after how many calls there
// was a difference, 0 with an error of Open.
func (cfg *Config) try(ctx context.Context, calls []call) (*runner, int, error) {
	m, err := cfg.Open(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer m.Close()
	r, err := cfg.runner(ctx, m, "")
	if err != nil {
		return nil, 0, err
	}
	for i, c := range calls {
		if err := r.step(c); err != nil {
			return r, i + 1, fmt.Errorf("%v: %w", c, err)
		}
	}
	return r, 0, nil
}

func (cfg *Config) runner(ctx context.Context, m cryptoki.Module, prefix string) (*runner, error) {
	slots, err := m.Slots(ctx, true)
	if err != nil {
		return nil, err
	}
	if len(slots) == 0 {
		return nil, fmt.Errorf("the module has no token: %w", pkcs11.CKR_TOKEN_NOT_PRESENT)
	}
	return &runner{
		ctx: ctx, module: m, slot: slots[0], userPIN: cfg.UserPIN, soPIN: cfg.SOPIN, prefix: prefix,
		seen:    cfg.Seen,
		w:       world{loginToWrite: cfg.LoginToWrite},
		handles: map[*object]pkcs11.ObjectHandle{}, byTag: map[string]*object{},
		origins: map[origin]*object{}, choices: map[int]choice{},
	}, nil
}

// pinned are calls that have been carried out, each with the session and the object
// that it used. Which one a number stands for depends on how many there are, so that
// calls that make others could not be left out one at a time.
func (r *runner) pinned(calls []call) []call {
	calls = slices.Clone(calls)
	for i, c := range calls {
		used := r.choices[c.number]
		calls[i].chosen, calls[i].opener = used.object, used.opener
	}
	return calls
}

// shrink makes the sequence simpler as long as there is a difference, until none of
// its steps helps any more: it leaves out calls, halves first, then ever smaller
// pieces; and it has calls use the first session, so that those that open others can
// be left out.
func (cfg *Config) shrink(ctx context.Context, seed uint64, calls []call, err error) error {
	original := len(calls)
	fails := func(simpler []call) bool {
		r, at, e := cfg.try(ctx, simpler)
		if e == nil || at == 0 {
			return false
		}
		calls, err = r.pinned(simpler[:at]), e
		return true
	}
	for simpler := true; simpler; {
		simpler = false
		for size := max(len(calls)/2, 1); size > 0; size /= 2 {
			for from := 0; from+size <= len(calls)-1; {
				if fails(slices.Concat(calls[:from], calls[from+size:])) {
					simpler = true
				} else {
					from += size
				}
			}
		}
		for from := range len(calls) {
			first, others := slices.Clone(calls), false
			for i := from; i < len(first); i++ {
				others = others || first[i].session != 0
				first[i].session, first[i].opener = 0, 0
			}
			if others && fails(first) {
				simpler = true
				break // the calls behind it are the same
			}
		}
	}
	d := &Difference{Seed: seed, Original: original, Err: err}
	for _, c := range calls {
		d.Calls = append(d.Calls, c.String())
	}
	return d
}

// parallel carries one sequence out in each goroutine. Which calls of others came
// between is not known, so a difference is not made shorter.
func (cfg *Config) parallel(ctx context.Context, seed uint64) error {
	m, err := cfg.Open(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	slots, err := m.Slots(ctx, true)
	if err != nil || len(slots) == 0 {
		return fmt.Errorf("the module has no token: %w", err)
	}
	anchor, err := m.OpenSession(ctx, slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	if err := anchor.Login(ctx, pkcs11.CKU_USER, cfg.UserPIN); err != nil {
		return err
	}
	errs := make([]error, cfg.Parallel)
	var wg sync.WaitGroup
	for i := range cfg.Parallel {
		wg.Go(func() {
			if _, err := cfg.beside(ctx, m, seed, i, sequence); err != nil {
				errs[i] = fmt.Errorf("goroutine %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// beside carries a sequence out on a token that others use too, where the user is
// logged in. The number of who does it determines the calls and the names of its
// objects.
func (cfg *Config) beside(ctx context.Context, m cryptoki.Module, seed uint64, number, length int) (*runner, error) {
	r, err := cfg.runner(ctx, m, fmt.Sprintf("%c.", 'a'+number))
	if err != nil {
		return nil, err
	}
	r.w.shared, r.w.login, r.seen = true, user, nil
	calls := random(rand.New(rand.NewPCG(seed, uint64(number)+1)), length, true)
	for n, c := range calls {
		if err := r.step(c); err != nil {
			d := &Difference{Seed: seed, Original: n + 1, Err: fmt.Errorf("%v: %w", c, err)}
			for _, c := range calls[:n+1] {
				d.Calls = append(d.Calls, c.String())
			}
			return nil, d
		}
	}
	return r, nil
}

// Beside makes cfg.Calls calls as one of several processes that share a token,
// each with a number of its own below 26, and compares them with a model of its
// own objects. The user is logged in. It returns the token objects that it has
// left behind, each as a class, a label and what identifies the object: its
// CKA_ID, for data objects CKA_OBJECT_ID. cfg.Open is not called.
func Beside(ctx context.Context, m cryptoki.Module, cfg Config, number int) ([]string, error) {
	r, err := cfg.beside(ctx, m, cfg.Seed, number, cfg.Calls)
	if err != nil {
		return nil, err
	}
	var left []string
	for _, o := range r.w.objects {
		if o.exists && o.token {
			left = append(left, Describe(o.class, o.label, []byte(o.tag)))
		}
	}
	return left, nil
}

// Describe is how Beside names an object.
func Describe(class pkcs11.ObjectClass, label string, id []byte) string {
	return fmt.Sprintf("%v %q %s", class, label, id)
}
