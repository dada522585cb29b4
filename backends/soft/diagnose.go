package soft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/drbg"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() { driver.RegisterDiagnosis("soft", diagnoseName) }

// diagnoseName looks at the token that a name describes: the directory and its
// medium, the log in it, then what the records say without a PIN.
func diagnoseName(ctx context.Context, params *driver.Params) ([]driver.Finding, error) {
	mem := params.Bool("mem", false)
	dir := params.String("dir", "")
	readOnly := params.Bool("readonly", false)
	params.Bool("create", false)
	params.Bool("nopin", false)
	params.Bool("backup", false)
	accept := params.Bool("accept", false)
	entropy, seed := params.String("entropy", ""), params.String("seed", "")
	if err := params.Unused(); err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	if mem == (dir != "") {
		return nil, fmt.Errorf("soft: %w: name either a directory, soft:dir=PATH, or memory, soft:mem=true", pkcs11.CKR_ARGUMENTS_BAD)
	}
	d := &diagnosis{}
	var store loader // nil if it cannot be read
	if mem {
		store = new(pal.Mem)
		d.warn("medium", "name a directory, soft:dir=PATH, unless the token may be forgotten", "the token is in memory and is gone when it is closed")
	} else {
		found, records := fileflash.Diagnose(dir)
		d.list = append(d.list, found...)
		if records != nil {
			defer records.Close()
			store = records
			d.token(records)
		} else if !slices.ContainsFunc(found, func(f driver.Finding) bool { return f.Severity == driver.Problem }) {
			d.uninitialized()
		}
		if readOnly {
			d.good("readonly", "the name says readonly=true: nothing is changed, and wrong PINs are counted in memory")
		}
		if accept {
			d.warn("accept", "leave it out when the objects have been accepted and one was changed", "the name says accept=true: objects that are missing or old are not noticed")
		}
	}
	d.sources(ctx, entropy)
	d.seed(seed, store, readOnly)
	return d.list, ctx.Err()
}

// A diagnosis collects findings.
type diagnosis struct{ list []driver.Finding }

func (d *diagnosis) add(s driver.Severity, name, cure, format string, args ...any) {
	d.list = append(d.list, driver.Finding{Severity: s, Name: name, Text: fmt.Sprintf(format, args...), Cure: cure})
}

func (d *diagnosis) good(name, format string, args ...any) {
	d.add(driver.Good, name, "", format, args...)
}

func (d *diagnosis) warn(name, cure, format string, args ...any) {
	d.add(driver.Warning, name, cure, format, args...)
}

func (d *diagnosis) problem(name, cure, format string, args ...any) {
	d.add(driver.Problem, name, cure, format, args...)
}

func (d *diagnosis) uninitialized() {
	d.problem("token", "cryptoki init --label NAME", "the token is not initialized")
}

// loader is what is read of a store.
type loader interface {
	Names() ([]string, error)
	Load(name string) ([]byte, error)
}

// token looks at the records of a token.
func (d *diagnosis) token(store loader) {
	b, err := store.Load(nameToken)
	if notThere(err) {
		d.uninitialized()
		return
	}
	if err != nil {
		return // the log's diagnosis has named it
	}
	rec, err := parseToken(b)
	if err != nil {
		d.record("token", err)
		return
	}
	d.good("token", "%q, serial %s", rec.label, rec.serialNumber())
	d.protection(rec)
	if tries, err := (&Token{store: readOnlyStore{loader: store}}).loadTries(rec); err == nil {
		d.tries(rec, tries)
	} else if errors.Is(err, pal.ErrCorrupt) || errors.Is(err, errors.ErrUnsupported) {
		d.record("tries", err)
	}
	d.objects(store, rec)
}

// readOnlyStore makes a store of a loader.
type readOnlyStore struct{ loader }

func (readOnlyStore) Save(string, []byte) error { return pal.ErrReadOnly }
func (readOnlyStore) Remove(string) error       { return pal.ErrReadOnly }

// record reports a record that is damaged or of a newer version.
func (d *diagnosis) record(name string, err error) {
	if errors.Is(err, errors.ErrUnsupported) {
		d.problem("version", "use the program that wrote it, or a newer one", "%s", text(err))
		return
	}
	d.problem(name, "restore the directory from a backup", "%s", text(err))
}

// text is what an error of this package says, without the codes.
func text(err error) string {
	s, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "soft: "), ": CKR_")
	return s
}

// protection says what the token key is under.
func (d *diagnosis) protection(rec *tokenRecord) {
	sealed := rec.flags&flagSealed != 0
	if sealed {
		d.problem("sealed", "open the token with the store that has the platform's key", "the token key is sealed by a platform's key, and a directory alone has none")
	}
	switch {
	case rec.flags&flagNoPIN != 0 && sealed:
		d.good("protection", "the token needs no user PIN; the platform's key protects its keys")
		return
	case rec.flags&flagNoPIN != 0:
		d.warn("protection", "make a token with a PIN, or with a platform key, where flash can be read", "the token needs no user PIN: whoever can read the directory, or a copy of it, has its keys")
		return
	case rec.flags&flagUserPIN == 0:
		d.warn("user-pin", "the SO sets one: cryptoki pin unlock", "the user has no PIN yet")
	}
	for _, who := range []role{userRole, soRole} {
		w := rec.key(who)
		if w.wrapped == nil {
			continue
		}
		name := pinName(who)
		if !w.kdf.enough() {
			d.warn("kdf", "set the PIN again with a program that has a higher Options.KDF", "the %v PIN costs Argon2id %v, less than OWASP's minimum (2 passes over 19 MiB, or as much): use a long PIN", who, w.kdf)
			continue
		}
		d.good("kdf", "the %s costs Argon2id %v", name, w.kdf)
	}
}

func pinName(who role) string { return who.String() + " PIN" }

// String is the cost as people say it.
func (k KDF) String() string {
	return fmt.Sprintf("%d passes over %d KiB by %d threads", k.Passes, k.MemoryKiB, k.Threads)
}

// enough reports whether the cost is at least the least of the configurations that
// OWASP's Password Storage Cheat Sheet recommends, from 1 pass over 46 MiB to 5
// over 7.
func (k KDF) enough() bool {
	return k.MemoryKiB >= 7<<10 && uint64(k.MemoryKiB)*uint64(k.Passes) >= 5*7<<10
}

// tries says how many wrong PINs there were.
func (d *diagnosis) tries(rec *tokenRecord, tries triesRecord) {
	for _, who := range []role{userRole, soRole} {
		if rec.key(who).wrapped == nil {
			continue
		}
		name, used, limit := strings.ToLower(who.String())+"-pin", int(*tries.count(who)), int(rec.maxTries)
		severity, cure := driver.Warning, "correct the source of the PIN; a right one resets the count"
		what := fmt.Sprintf("wrong %ss since the last right one: %d of %d", pinName(who), used, limit)
		switch {
		case used == 0:
			severity, cure = driver.Good, ""
			what = "no wrong " + pinName(who) + " since the last right one"
		case used >= limit && who == userRole:
			severity, cure = driver.Problem, "the SO sets a new one: cryptoki pin unlock"
			what = fmt.Sprintf("the user PIN is locked after %d wrong ones", limit)
		case used >= limit:
			cure = "nothing unlocks it: back up what can be, and make the token anew before its user PIN is needed again"
			what = fmt.Sprintf("the SO PIN is locked after %d wrong ones: the user works on, and nobody can unlock the user PIN", limit)
		case used == limit-1:
			cure = "correct the source of the PIN before the next login"
			what = "one more wrong " + pinName(who) + " locks it"
		}
		d.add(severity, name, cure, "%s", what)
	}
}

// objects looks at the records of objects, as far as that goes without a PIN.
func (d *diagnosis) objects(store loader, rec *tokenRecord) {
	names, err := store.Names()
	if err != nil {
		return
	}
	slices.Sort(names)
	count, private, old := 0, 0, 0
	var unknown []string
	for _, name := range names {
		switch {
		case name == nameToken, name == nameTries, name == "seed":
			continue
		case name == nameInventory:
			b, err := store.Load(name)
			if err != nil {
				continue // named already
			}
			if _, _, _, err := parseInventory(b); err != nil {
				d.record("inventory", err)
			}
			continue
		case name == nameJournal:
			d.warn("interrupted", "nothing: the next opening finishes or undoes it", "a change was interrupted")
			continue
		case !strings.HasPrefix(name, objectPrefix):
			unknown = append(unknown, name)
			continue
		}
		b, err := store.Load(name)
		if err != nil {
			continue // named already
		}
		r, err := parseObject(name, b)
		switch {
		case err != nil:
			d.record("object", err)
		case r.epoch() != rec.epoch:
			old++
		default:
			if count++; r.flags()&flagPrivate != 0 {
				private++
			}
		}
	}
	if old > 0 {
		d.problem("object", "restore the directory from a backup", "%d objects are of another token, or of this one before it was initialized anew", old)
	}
	if len(unknown) > 0 {
		d.warn("record", "use the program that wrote them, or a newer one", "records that this program does not know: %s", strings.Join(unknown, ", "))
	}
	d.good("objects", "%d objects, %d of them private; login checks that nobody has changed them", count, private)
}

// patience is how long sources of entropy may take to pass their tests. Slow ones
// deliver a kilobyte in a second.
var patience = 10 * time.Second

// sources looks at what random numbers are made of.
func (d *diagnosis) sources(ctx context.Context, entropy string) {
	var opened closers
	defer func() { opened.Close() }()
	opts := new(Options)
	if err := opts.sources(entropy, &opened); err != nil {
		d.problem("entropy", "correct entropy= in the name, or give the user access to the device", "%s", text(err))
		return
	}
	if entropy == "" {
		return
	}
	g, err := drbg.New(&drbg.Options{Sources: opts.Entropy})
	if err != nil {
		d.problem("entropy", "correct entropy= in the name", "%v", err)
		return
	}
	tested := make(chan error, 1)
	go func() {
		tested <- g.Read(make([]byte, 1))
		g.Close()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-tested:
		if err != nil {
			d.problem("entropy", "name another source: with this one there are no random numbers, and no new keys", "%v", err)
			return
		}
		d.good("entropy", "%s: what comes passes the health tests", entropy)
	case <-timer.C:
		d.problem("entropy", "look what is wrong with the device, or name another source", "%s: too little has come in %v to test it", entropy, patience)
	case <-ctx.Done():
	}
}

// seed looks at the seed that a name says. store is nil if it cannot be read.
func (d *diagnosis) seed(name string, store loader, readOnly bool) {
	var seed pal.Seed = pal.NewFileSeed(name)
	switch {
	case name == "", name == "store" && store == nil:
		return
	case name == "store" && readOnly:
		d.problem("seed", "leave out readonly=true where random numbers or new keys are needed", "the seed in the store cannot be replaced, and is not used")
		return
	case name == "store":
		seed = pal.StoreSeed(readOnlyStore{loader: store}, "seed")
	}
	b := make([]byte, pal.SeedLen)
	defer clear(b)
	const cure = "put a seed of its own on each device when it is made"
	switch err := seed.ReadSeed(b); {
	case errors.Is(err, fs.ErrNotExist) && name == "store":
		d.problem("seed", cure+", with WriteSeed", "there is no seed in the store")
	case errors.Is(err, fs.ErrNotExist):
		d.problem("seed", cure, "the seed %s does not exist", name)
	case err != nil:
		what, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "pal: seed: "), ";")
		d.problem("seed", fmt.Sprintf("replace it by a new one: %d random bytes, mode 0600", pal.SeedLen), "%s", what)
	case bytes.Count(b, b[:1]) == len(b):
		d.problem("seed", cure, "the seed %s is blank memory, %#x", name, b[0])
	default:
		d.good("seed", "%s can be read; it is replaced before it is used", name)
	}
}
