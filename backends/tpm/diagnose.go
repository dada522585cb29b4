package tpm

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() { driver.RegisterDiagnosis("tpm", diagnoseName) }

// diagnoseName looks at the token that a name describes: the device, the TPM, its
// storage key, its lockout, and what the records say without a PIN.
func diagnoseName(ctx context.Context, params *driver.Params) ([]driver.Finding, error) {
	n, err := parseName(params)
	if err != nil {
		return nil, err
	}
	d := &diagnosis{n: n}
	d.run(ctx)
	return d.list, ctx.Err()
}

// A diagnosis collects findings about what a name says.
type diagnosis struct {
	n    *tokenName
	list []driver.Finding

	rec *tokenRecord // nil: not initialized, or not to be read
}

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

func (d *diagnosis) run(ctx context.Context) {
	name := d.n.device
	if name == "" {
		name = d.n.addr
	}
	tpm, err := d.n.opts.Dial(ctx)
	if err != nil {
		d.unreachable(name, err)
		d.records()
		return
	}
	defer tpm.Close()
	t := &Token{opts: *d.n.opts}
	t.opts.Log = nil
	c := &channel{t: t, tpm: tpm, ctx: ctx}
	props, err := c.properties(ptFixed, ptLockoutRecovery)
	if err != nil {
		d.silent(name, err)
		d.records()
		return
	}
	d.good("device", "%s answers", name)
	d.firmware(firmwareOf(props))
	d.records()
	if !d.state(props) {
		return
	}
	d.storageKey(c, props)
	d.lockout(lockoutOf(props))
}

// unreachable is about a TPM that cannot be opened.
func (d *diagnosis) unreachable(name string, err error) {
	switch {
	case d.n.device == "":
		d.problem("device", "start swtpm, or name the socket that it listens on; it serves one connection at a time", "%s: %s", name, plain(err))
	case errors.Is(err, fs.ErrNotExist):
		raw := strings.Replace(name, "tpmrm", "tpm", 1)
		if _, err := os.Stat(raw); raw != name && err == nil {
			d.problem("device", "use a kernel of 4.12 or later; or, for a single process, device="+raw, "there is no %s, although there is %s: the kernel has no resource manager", name, raw)
			return
		}
		d.problem("device", "enable the TPM in the firmware's setup; on a board, enable its overlay (dtoverlay=tpm-slb9670) and driver (tpm_tis_spi), and look at dmesg | grep -i tpm",
			"there is no %s", name)
	case errors.Is(err, fs.ErrPermission):
		d.problem("permission", "add the user to the group tss: usermod -aG tss USER, and log in again; a service: SupplementaryGroups=tss", "%s may not be opened by this user", name)
	case errors.Is(err, syscall.EBUSY):
		d.problem("device", "name the device with the resource manager, /dev/tpmrm0, or end the other process: fuser "+name, "%s is in use by another process", name)
	default:
		d.problem("device", "look at dmesg | grep -i tpm", "%s: %s", name, plain(err))
	}
}

// silent is about a TPM that does not answer as it should.
func (d *diagnosis) silent(name string, err error) {
	switch {
	case errors.Is(err, tpm2.TPMRCInitialize):
		d.problem("startup", "opening the token starts it; if that happens again and again, the board resets the TPM while it runs", "%s is not started", name)
	case errors.Is(err, tpm2.TPMRCFailure):
		d.problem("self-test", "take the power off, not only reset; if that does not help, the TPM is broken", "%s is in failure mode", name)
	case d.n.device == "":
		d.problem("device", "name the socket on which swtpm takes commands, that of --server and not of --ctrl; if it is that one, start swtpm again", "%s does not answer: %s", name, plain(err))
	default:
		d.problem("device", "look at dmesg | grep -i tpm; on SPI, at the wiring and the clock", "%s does not answer: %s", name, plain(err))
	}
}

func (d *diagnosis) firmware(f firmware) {
	d.good("tpm", "%v", f)
	switch {
	case !f.simulated():
	case !d.n.opts.Simulated:
		d.problem("simulated", "name a device that is a chip; simulated=true allows it, for tests", "this is a TPM in software, whose keys are files")
	default:
		d.warn("simulated", "use a chip in production", "this is a TPM in software: whoever can read its files has the keys")
	}
	found := f.knownFlaws()
	for _, flaw := range found {
		d.warn("firmware", flaw.cure, "%s: %s", flaw.name, flaw.means)
	}
	if len(found) == 0 {
		d.good("firmware", "no flaw of this version is known here")
	}
}

// Attributes of a TPM. Part 2, 8.6 and 8.7.
const (
	permOwnerAuth       = 1 << 0
	permEndorsementAuth = 1 << 1
	permLockoutAuth     = 1 << 2
	startStorage        = 1 << 1
	startEndorsement    = 1 << 2
)

// state looks at the hierarchies, and reports whether there is more to see.
func (d *diagnosis) state(props map[uint32]uint32) bool {
	perm, start := props[ptPermanent], props[ptStartupClear]
	if start&startStorage == 0 {
		d.problem("disabled", "enable the TPM in the firmware's setup", "the storage hierarchy of the TPM is disabled: no key can be used")
		return false
	}
	if start&startEndorsement == 0 {
		d.warn("endorsement", "enable it in the firmware's setup if keys are to be attested", "the endorsement hierarchy is disabled")
	}
	switch {
	case perm&permOwnerAuth == 0:
		d.good("owner", "the owner's authorization is empty")
	case d.n.opts.OwnerAuth != nil:
		d.good("owner", "the owner's authorization is set, and the name has owner-auth")
	default:
		d.warn("owner", "give it with owner-auth=FILE where that is needed", "the owner's authorization is set: init on a TPM without storage key, and persistent keys, need it")
	}
	switch {
	case start&startEndorsement == 0:
	case perm&permEndorsementAuth == 0:
		d.good("endorsement", "the authorization of the endorsement hierarchy is empty")
	case d.n.opts.EndorsementAuth != nil:
		d.good("endorsement", "the authorization of the endorsement hierarchy is set, and the name has endorsement-auth")
	default:
		d.warn("endorsement", "give it with endorsement-auth=FILE where that is needed", "the authorization of the endorsement hierarchy is set: to answer a challenge about attested keys needs it")
	}
	if perm&permLockoutAuth == 0 {
		d.good("lockout-auth", "the lockout authorization is empty: whoever can use the TPM can reset the lockout, or clear the TPM")
	} else {
		d.good("lockout-auth", "the lockout authorization is set")
	}
	return true
}

// storageKey looks at the key under which the token's keys are.
func (d *diagnosis) storageKey(c *channel, props map[uint32]uint32) {
	handle := d.n.opts.Parent
	if handle == 0 {
		handle = srkHandle
	}
	if d.rec != nil {
		handle = d.rec.parent
	}
	srk, err := c.readSRK(handle)
	switch {
	case err != nil:
		d.problem("storage-key", "name another handle with parent=0x8100…, or have who put it there remove it (tpm2_evictcontrol)", "%s", plain(err))
	case srk == nil && d.rec != nil:
		d.problem("foreign", "put the old TPM back; otherwise the keys are lost: begin with an empty directory", "there is no storage key at %#x: the TPM was cleared or replaced since the token was made", handle)
	case srk == nil:
		cure := "cryptoki init makes it"
		if props[ptPermanent]&permOwnerAuth != 0 && d.n.opts.OwnerAuth == nil {
			cure = "cryptoki init makes it, with the owner's authorization: owner-auth=FILE"
		}
		d.warn("storage-key", cure, "there is no storage key at %#x yet", handle)
	case d.rec != nil && !bytes.Equal(srk.name, d.rec.srkName):
		d.problem("foreign", "put the old TPM back; otherwise the keys are lost: begin with an empty directory", "the storage key at %#x is not the token's: the TPM was cleared or replaced, or the directory is another machine's", handle)
	default:
		d.good("storage-key", "%#x, %s…", handle, hex.EncodeToString(srk.name[:10]))
		if !srk.noDA {
			d.warn("storage-key", "make another one with the noDA attribute, and name it with parent=", "the storage key is under protection from dictionary attacks: while the TPM is locked, no key can be loaded")
		}
	}
}

func (d *diagnosis) lockout(l *lockout) {
	cure := "wait; or cryptoki lockout reset, with the lockout authorization"
	when := "they are never forgotten"
	if l.interval > 0 {
		left := time.Duration(l.tries) * l.interval
		when = fmt.Sprintf("one is forgotten every %v with power, all in %v", l.interval, left)
	}
	switch {
	case l.isLocked():
		d.problem("lockout", cure, "the TPM is locked after %d wrong PINs or other authorizations; %s", l.tries, when)
	case l.isLast():
		d.warn("lockout", cure, "one more wrong PIN locks the TPM: %d of %d are used up; %s", l.tries, l.limit, when)
	case l.tries > 0:
		d.warn("lockout", "find out who tries: every program that uses the TPM counts, and so does a loss of power", "%d of the %d wrong PINs that lock the TPM are used up; %s", l.tries, l.limit, when)
	default:
		d.good("lockout", "no wrong PINs; %d lock the TPM", l.limit)
	}
}

// records looks at what is stored.
func (d *diagnosis) records() {
	if d.n.mem {
		d.warn("medium", "name a directory, tpm:dir=PATH, unless the token may be forgotten", "the token is in memory and is gone when it is closed")
		return
	}
	found, store := fileflash.Diagnose(d.n.dir)
	d.list = append(d.list, found...)
	if store == nil {
		for _, f := range found {
			if f.Severity == driver.Problem {
				return
			}
		}
		d.uninitialized()
		return
	}
	defer store.Close()
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
		d.record(err)
		return
	}
	d.rec = rec
	d.good("token", "%q, serial %s", rec.label, hex.EncodeToString(rec.serial[:]))
	switch {
	case rec.flags&flagNoPIN != 0:
		d.warn("pin", "make a token with a PIN, unless who can read the directory may use the keys", "the token has no user PIN: whoever can read the directory and use the TPM can use its keys")
	case rec.flags&flagUserPIN == 0:
		d.warn("pin", "cryptoki pin unlock", "the user has no PIN yet")
	}
	names, err := store.Names()
	if err != nil {
		return
	}
	if b, err := store.Load(nameInventory); err == nil {
		if _, _, _, err := parseInventory(b); err != nil {
			d.record(err)
		}
	}
	if d.n.opts.AcceptObjects {
		d.warn("accept", "leave it out when the objects have been accepted and one was changed", "the name says accept=true: objects that are missing or old are not noticed")
	}
	keys := 0
	for _, name := range names {
		if !strings.HasPrefix(name, objectPrefix) {
			continue
		}
		b, err := store.Load(name)
		if err != nil {
			continue
		}
		r, err := parseBundle(name, b)
		if err != nil {
			d.record(err)
			continue
		}
		if r.epoch == rec.epoch {
			keys += d.weak(r)
		}
	}
	d.good("keys", "%d in the TPM", keys)
}

func (d *diagnosis) uninitialized() {
	d.problem("token", "cryptoki init --label NAME", "the token is not initialized")
}

// record reports a record that is damaged or of a newer version.
func (d *diagnosis) record(err error) {
	if errors.Is(err, errors.ErrUnsupported) {
		d.problem("version", "use the program that wrote it, or a newer one", "%s", plain(err))
		return
	}
	d.problem("record", "restore the directory from a backup", "%s", plain(err))
}

// weak looks at the public halves of the keys in a record, which are in the clear,
// and returns how many there are.
func (d *diagnosis) weak(r *bundle) int {
	n := 0
	for i := range r.objects {
		if r.objects[i].flags&flagKey == 0 {
			continue
		}
		n++
		blob, err := parseKeyBlob(r.objects[i].blob)
		if err != nil {
			continue
		}
		pub, err := parsePublic(blob.public)
		if err != nil {
			continue
		}
		if key, ok := pub.key.(*rsa.PublicKey); ok && isROCA(key) {
			d.problem("weak-key", "make a new key, on P-256 or on a TPM with newer firmware, and revoke the certificate of this one",
				"an RSA key (%s…) can be computed from its public half: CVE-2017-15361 (ROCA)", hex.EncodeToString(pub.name[2:10]))
		}
	}
	return n
}

// plain is what an error says, without our name and the codes.
func plain(err error) string {
	s, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "tpm: "), ": CKR_")
	return s
}

// refuseWeak refuses a key that a flawed TPM has generated.
func refuseWeak(pub *publicArea) error {
	if key, ok := pub.key.(*rsa.PublicKey); ok && isROCA(key) {
		return fmt.Errorf("the TPM has generated an RSA key that can be computed from its public half, CVE-2017-15361 (ROCA); update its firmware, or use P-256: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	return nil
}
