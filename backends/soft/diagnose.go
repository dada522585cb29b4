package soft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
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
	if mem {
		d.warn("medium", "name a directory, soft:dir=PATH, unless the token may be forgotten", "the token is in memory and is gone when it is closed")
	} else {
		found, records := fileflash.Diagnose(dir)
		d.list = append(d.list, found...)
		if records != nil {
			d.token(records)
			records.Close()
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
	d.sources(entropy, seed)
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

// sources looks at what random numbers are made of.
func (d *diagnosis) sources(entropy, seed string) {
	var opened closers
	if err := new(Options).sources(entropy, &opened); err != nil {
		d.problem("entropy", "correct entropy= in the name, or give the user access to the device", "%s", text(err))
	} else if entropy != "" {
		d.good("entropy", "%s can be opened", entropy)
	}
	opened.Close()
	if seed == "" || seed == "store" {
		return
	}
	info, err := os.Stat(seed)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.problem("seed", "put a seed of its own on each device when it is made", "the seed %s does not exist", seed)
	case err != nil:
		d.problem("seed", "see the message", "the seed: %v", err)
	case info.Mode().Perm()&0o077 != 0:
		d.warn("seed", "chmod 600 "+seed, "others can read or write the seed %s (mode %04o)", seed, info.Mode().Perm())
	default:
		d.good("seed", "%s, %d bytes", seed, info.Size())
	}
}
