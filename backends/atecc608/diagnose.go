package atecc608

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() { driver.RegisterDiagnosis("atecc608", diagnoseName) }

// diagnoseName looks at the chip that a name describes: the directory, the bus,
// then the chip on it.
func diagnoseName(ctx context.Context, params *driver.Params) ([]driver.Finding, error) {
	n, err := parseName(params)
	if err != nil {
		return nil, err
	}
	d := &diagnosis{}
	var records pal.Store
	if n.dir != "" {
		found, store := fileflash.Diagnose(n.dir)
		d.list = append(d.list, found...)
		if store != nil {
			defer store.Close()
			records = snapshot{store}
		}
	}
	if err := n.read(&n.opts); err != nil {
		d.problem("key-file", "see the message", "%v", err)
	}
	bus, err := openBus(ctx, n.bus)
	switch {
	case errors.Is(err, fs.ErrPermission):
		d.problem("permission", "sudo usermod -aG i2c $USER, and log in again; or a udev rule that gives the device to the service's group", "the bus %s may not be opened: %v", n.bus, err)
		return d.list, ctx.Err()
	case err != nil:
		cure := "enable the I²C bus (on a Raspberry Pi: dtparam=i2c_arm=on) and load the module: modprobe i2c-dev"
		if strings.Contains(n.bus, ":") {
			cure = "start atecc-sim --listen " + n.bus
		}
		d.problem("bus", cure, "there is no bus %s: %v", n.bus, err)
		return d.list, ctx.Err()
	}
	defer bus.Close()
	d.good("bus", "bus %s opens", n.bus)
	d.speed = sysfsSpeed(n.bus)
	n.opts.Store = records
	d.chip(ctx, bus, &n.opts)
	return d.list, ctx.Err()
}

// A snapshot is the records of a directory, to be looked at.
type snapshot struct{ *fileflash.Snapshot }

func (snapshot) Save(string, []byte) error { return pal.ErrReadOnly }
func (snapshot) Remove(string) error       { return pal.ErrReadOnly }

// Diagnose looks at the chip on bus, from the outside inwards, and says what it
// finds. It writes nothing; afterwards the chip sleeps. opts may be nil.
func Diagnose(ctx context.Context, bus i2c.Bus, opts *Options) []driver.Finding {
	d := &diagnosis{}
	o := Options{}
	if opts != nil {
		o = *opts
	}
	d.chip(ctx, bus, &o)
	return d.list
}

// A diagnosis collects findings.
type diagnosis struct {
	list  []driver.Finding
	speed physic.Frequency // of the bus, 0 if it is not known
}

func (d *diagnosis) good(name, format string, args ...any) {
	d.list = append(d.list, driver.Finding{Severity: driver.Good, Name: name, Text: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) warn(name, cure, format string, args ...any) {
	d.list = append(d.list, driver.Finding{Severity: driver.Warning, Name: name, Text: fmt.Sprintf(format, args...), Cure: cure})
}

func (d *diagnosis) problem(name, cure, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	d.list = append(d.list, driver.Finding{Severity: driver.Problem, Name: name, Text: text, Cure: cure})
}

// The addresses at which chips of the family are found.
var addresses = []uint16{0x60, 0x35, 0x36, 0x59}

// maxWakeSpeed is the highest at which the address 0 keeps SDA low long enough.
const maxWakeSpeed = 133 * physic.KiloHertz

// wakes is how often the wake pulse is tried.
const wakes = 6

// chip looks at the chip: does it wake, what does it say, is it set up.
func (d *diagnosis) chip(ctx context.Context, bus i2c.Bus, opts *Options) {
	want := addresses
	if a := opts.Chip.Address; a != 0 {
		want = append([]uint16{a}, slices.DeleteFunc(slices.Clone(addresses), func(b uint16) bool { return a == b })...)
	}
	got := listen(ctx, bus, opts.Chip.Pulse, want)
	if got.stuck != nil {
		d.problem("bus", "look for a device that holds SDA or SCL low, missing pull-ups, or a short; take the power of all devices away for a moment", "no transfer gets through: %v", got.stuck)
		return
	}
	if !d.answers(ctx, bus, opts, got, want) {
		return
	}
	dev, err := atecc.New(ctx, bus, &opts.Chip)
	if err != nil {
		d.problem("chip", "see the message", "%v", err)
		return
	}
	defer dev.Close()
	z := config.Zone(dev.Config())
	d.good("chip", "%s, serial number %X, at 0x%02X", z.Model(), z.Serial(), dev.Address())
	d.locks(&z)
	d.policy(&z)
	d.random(ctx, dev, &z)
	d.records(ctx, dev, &z, opts)
}

// heard is what came of the wake pulses.
type heard struct {
	tokens map[uint16]int  // answers as they should be, by address
	odd    map[uint16]byte // others that are groups of 4 bytes: their status
	noise  map[uint16]int  // others
	stuck  error           // of all transfers, if none was so much as not acknowledged
}

// listen sends wake pulses and listens at each address.
func listen(ctx context.Context, bus i2c.Bus, pulse func() error, at []uint16) heard {
	h := heard{tokens: make(map[uint16]int), odd: make(map[uint16]byte), noise: make(map[uint16]int)}
	var last error
	same := true
	for range wakes {
		if pulse != nil {
			_ = pulse()
		} else {
			_ = bus.Tx(0, []byte{0}, nil) // nobody acknowledges
		}
		select {
		case <-ctx.Done():
			return h
		case <-time.After(3 * time.Millisecond):
		}
		for _, a := range at {
			var b [4]byte
			if err := bus.Tx(a, nil, b[:]); err != nil {
				same = same && (last == nil || errors.Is(err, last))
				last = err
				continue
			}
			switch b {
			case [4]byte{0x04, 0x11, 0x33, 0x43}:
				h.tokens[a]++
			case [4]byte{0x04, 0x07, 0x40, 0xC2}:
				h.odd[a] = 0x07
			default:
				h.noise[a]++
			}
			_ = bus.Tx(a, []byte{0x01}, nil) // sleep, for the next pulse
		}
	}
	if len(h.tokens)+len(h.odd)+len(h.noise) == 0 && last != nil && same && stuck(last) {
		h.stuck = last
	}
	return h
}

// stuck reports whether an error is another than that nobody acknowledges. What
// adapters of Linux say for the latter are ENXIO, EREMOTEIO and EIO.
func stuck(err error) bool {
	text := err.Error()
	for _, nack := range []string{"no acknowledge", "no such device or address", "remote I/O error", "input/output error"} {
		if strings.Contains(text, nack) {
			return false
		}
	}
	return true
}

// answers judges what was heard, and reports whether there is a chip to go on with.
func (d *diagnosis) answers(ctx context.Context, bus i2c.Bus, opts *Options, got heard, want []uint16) bool {
	var at []uint16
	for a := range got.tokens {
		at = append(at, a)
	}
	for a := range got.odd {
		at = append(at, a)
	}
	slices.Sort(at)
	at = slices.Compact(at)
	named := opts.Chip.Address
	switch {
	case named != 0 && !slices.Contains(at, named) && len(at) > 0:
		d.problem("address", fmt.Sprintf("say address=0x%02X, which is 0x%02X in the 8-bit form", at[0], at[0]<<1), "nothing answers at 0x%02X, but a chip does at %s", named, hexes(at))
		return false
	case named == 0 && len(at) > 1:
		d.problem("address", fmt.Sprintf("say which one, as in address=0x%02X", at[0]), "several chips answer, at %s", hexes(at))
		return false
	case len(at) == 0:
		d.silent(ctx, bus, opts, got, want)
		return false
	}
	a := at[0]
	if named != 0 {
		a = named
	}
	if status, ok := got.odd[a]; ok && status == 0x07 {
		d.problem("self-test", "take the power away and give it again; if it happens again the chip is defective", "the chip at 0x%02X says after waking that its self-test failed", a)
		return false
	}
	if n := got.tokens[a]; n < wakes {
		d.warn("wake", "shorten the wires, check the pull-ups (2.2 to 10 kΩ) and the supply; the bus must run at 100 kHz", "only %d of %d wake pulses were answered at 0x%02X", n, wakes, a)
	} else {
		d.good("wake", "the chip at 0x%02X answers the wake pulse", a)
	}
	return true
}

// silent finds out why no chip answers.
func (d *diagnosis) silent(ctx context.Context, bus i2c.Bus, opts *Options, got heard, want []uint16) {
	const slower = "run the bus at 100 kHz (on a Raspberry Pi: dtparam=i2c_arm_baudrate=100000), or give the chip a wake pulse by GPIO"
	if d.speed > maxWakeSpeed {
		d.problem("speed", slower, "the bus runs at %v; above %v the wake pulse is too short", d.speed, maxWakeSpeed)
		return
	}
	// A bus whose speed can be set tells it by what happens at another.
	if bus.SetSpeed(100*physic.KiloHertz) == nil {
		slow := listen(ctx, bus, opts.Chip.Pulse, want)
		if opts.Chip.Speed > 0 {
			_ = bus.SetSpeed(opts.Chip.Speed)
		}
		if len(slow.tokens) > 0 {
			d.problem("speed", slower, "the bus ran too fast for the wake pulse; at 100 kHz a chip answers")
			return
		}
	}
	for a, n := range got.noise {
		d.problem("wake", "check supply, pull-ups and the length of the wires; another device may have the address", "something at 0x%02X is there and does not wake: %d answers were no wake token", a, n)
		return
	}
	list := hexes(want)
	if opts.Chip.Address != 0 {
		list = hexes(want[:1])
	}
	d.problem("chip", "check supply, SDA, SCL and pull-ups; i2cdetect does not show the chip, which sleeps; if it has another address, say address=0x…", "nothing answers at %s", list)
}

func hexes(list []uint16) string {
	var text []string
	for _, a := range list {
		text = append(text, fmt.Sprintf("0x%02X", a))
	}
	return strings.Join(text, ", ")
}

// locks looks at what is locked.
func (d *diagnosis) locks(z *config.Zone) {
	const cure = "cryptoki init --config generic --lock (look first: --dry-run)"
	switch {
	case !z.Locked():
		d.problem("config-lock", cure, "the configuration is not locked: random numbers are constant, and no key is safe")
	case !z.DataLocked():
		d.good("config-lock", "the configuration is locked")
		d.problem("data-lock", "cryptoki init --config generic --lock goes on where it was interrupted", "the data zone is not locked: the policies of the slots are not in force")
	default:
		d.good("config-lock", "the configuration is locked")
		d.good("data-lock", "the data zone is locked")
	}
	if slot, on := z.IOProtection(); on && z.DataLocked() && z.Slot(slot).WritesClear() {
		d.warn("io-key", fmt.Sprintf("cryptoki slot lock %d, once the key is written (cryptoki init --config keep --lock)", slot), "slot %d is not locked: anybody on the bus can replace the I/O protection key", slot)
	}
}

// policy looks for configurations that give keys away, or have no use for them.
func (d *diagnosis) policy(z *config.Zone) {
	if !z.Locked() {
		return // nobody's choice yet
	}
	locked := *z // which slots are locked is not the configuration's fault
	locked[88], locked[89] = 0xFF, 0xFF
	if err := locked.Check(); err != nil {
		d.problem("policy", "use another chip: a configuration is for ever; cryptoki init --config refuses such ones", "%v", err)
		return
	}
	var signs []string
	for n := range config.Slots {
		if z.Slot(n).SignsDigests() {
			signs = append(signs, fmt.Sprint(n))
		}
	}
	if len(signs) == 0 {
		d.problem("policy", "use a chip with a configuration for this: generic, TrustFLEX, Trust&GO", "no slot has a private key that signs digests (SlotConfig bit 0)")
		return
	}
	d.good("policy", "keys that sign: slots %s", strings.Join(signs, ", "))
}

// random draws random numbers.
func (d *diagnosis) random(ctx context.Context, dev *atecc.Device, z *config.Zone) {
	if !z.Locked() {
		return
	}
	var a, b [32]byte
	err := dev.Random(ctx, a[:])
	if err == nil {
		err = dev.Random(ctx, b[:])
	}
	const cure = "take the power away and give it again; if it happens again the chip is defective, and no key in it can be trusted"
	switch {
	case errors.Is(err, atecc.StatusHealth):
		d.problem("rng", cure, "the random number generator fails its health test")
	case err != nil:
		d.problem("rng", cure, "%v", err)
	case bytes.Equal(a[:], b[:]):
		d.problem("rng", cure, "the random number generator gives the same numbers twice")
	default:
		d.good("rng", "random numbers are drawn")
	}
}

// records compares the store with the chip.
func (d *diagnosis) records(ctx context.Context, dev *atecc.Device, z *config.Zone, opts *Options) {
	if opts.Store == nil && opts.Slots == nil || !z.DataLocked() {
		return
	}
	store, where := opts.Store, "the directory"
	if store == nil {
		s, err := newSlotStore(dev, *z, opts.Slots, opts.IOKey)
		if err != nil {
			d.problem("store", "name slots that are for data: cryptoki slot list", "%v", err)
			return
		}
		store, where = s, s.String()
	}
	c, err := loadChip(store)
	switch {
	case notThere(err):
		d.warn("store", "nothing, unless there should be: check the name of "+where, "%s: there is no record of a chip yet", where)
		return
	case err != nil:
		d.problem("store", "restore "+where+", or begin with an empty one: the keys stay in the chip", "%v", err)
		return
	case c.serial != z.Serial():
		d.problem("store", "name the directory of this chip", "the directory belongs to the chip %X, this one is %X", c.serial, z.Serial())
		return
	}
	clear(c.ioKey)
	names, err := store.Names()
	if err != nil {
		d.problem("store", "see the message", "%v", err)
		return
	}
	good := 0
	for _, name := range names {
		if !isObject(name) {
			continue
		}
		b, err := store.Load(name)
		var r *record
		if err == nil {
			r, err = parseRecord(name, b)
		}
		if err != nil {
			d.problem("store", "restore "+where+"; the keys stay in the chip", "record %s: %v", name, err)
			continue
		}
		if d.key(ctx, dev, z, r) {
			good++
		}
	}
	d.good("store", "%d objects of %s are what the chip has", good, where)
}

// key reports whether the key of a record is in its slot.
func (d *diagnosis) key(ctx context.Context, dev *atecc.Device, z *config.Zone, r *record) bool {
	if r.main == nil || r.slot < 0 || r.flags&flagPending != 0 || pkcs11.ObjectClass(r.main.Uint(pkcs11.CKA_CLASS)) != pkcs11.CKO_PRIVATE_KEY {
		return true
	}
	if _, on := z.Slot(r.slot).Authorized(); on {
		return true // it takes a PIN to look
	}
	label := r.main.Text(pkcs11.CKA_LABEL)
	want, err := driver.PublicKey(r.main)
	if err != nil {
		d.problem("keys", "restore the directory", "record of %q: %v", label, err)
		return false
	}
	pub, err := dev.PublicKey(ctx, r.slot)
	const cure = "another program has made a key there: destroy this one and make it anew, with its certificate"
	if err != nil {
		d.problem("keys", cure, "slot %d does not hold the key %q: %v", r.slot, label, err)
		return false
	}
	if !keys.Equal(want, pub) {
		d.problem("keys", cure, "slot %d holds another key than %q", r.slot, label)
		return false
	}
	return true
}

// sysfsSpeed is what the device tree says of a bus of Linux, 0 if it says nothing.
func sysfsSpeed(bus string) physic.Frequency {
	number := strings.TrimPrefix(bus, "/dev/i2c-")
	if strings.ContainsAny(number, "/:") {
		return 0
	}
	b, err := os.ReadFile(filepath.Join("/sys/class/i2c-adapter/i2c-"+number, "of_node/clock-frequency"))
	if err != nil || len(b) != 4 {
		return 0
	}
	return physic.Frequency(binary.BigEndian.Uint32(b)) * physic.Hertz
}
