package fileflash

import (
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
)

// A Snapshot is the log as Diagnose has found it. It is only read.
type Snapshot struct{ s *Store }

// Names returns the names of the records.
func (s *Snapshot) Names() ([]string, error) { return s.s.Names() }

// Load reads the record of that name and checks it.
func (s *Snapshot) Load(name string) ([]byte, error) { return s.s.Load(name) }

// Close closes the log.
func (s *Snapshot) Close() error { return s.s.log.Close() }

// A diagnosis collects findings.
type diagnosis struct {
	list []driver.Finding
	bad  bool // one of them is a problem
}

func (d *diagnosis) good(name, format string, args ...any) {
	d.list = append(d.list, driver.Finding{Severity: driver.Good, Name: name, Text: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) warn(name, cure, format string, args ...any) {
	d.list = append(d.list, driver.Finding{Severity: driver.Warning, Name: name, Text: fmt.Sprintf(format, args...), Cure: cure})
}

func (d *diagnosis) problem(name, cure, format string, args ...any) {
	d.list = append(d.list, driver.Finding{Severity: driver.Problem, Name: name, Text: fmt.Sprintf(format, args...), Cure: cure})
	d.bad = true
}

// A medium is what the operating system says of the file system and the device
// that a directory is on.
type medium struct {
	memory     string // the kind of file system that lives in memory, else ""
	network    string // the kind of one that is on another machine, else ""
	readOnly   bool
	free, size int64 // bytes that the user may still write, and those that there are; -1 if unknown
	files      int64 // that may still be made; -1 if unknown

	device string // name of the block device, "" if unknown
	life   int    // JEDEC life time estimation, the worse of both: 1 to 10 for each 10 % used, 11 exceeded; 0 if unknown
	eol    int    // JEDEC pre-EOL information: 1 normal, 2 warning, 3 urgent; 0 if unknown
}

// lowSpace is how much room a token should find beside its log: some changes, and
// a compaction, which writes a second log of at most the size of the first.
const lowSpace = 256 << 10

// diagnose says what the medium means for a log of the given size.
func (m *medium) diagnose(d *diagnosis, dir string, log int64) {
	switch {
	case m.memory != "":
		d.warn("medium", "use a directory that outlives a reboot, unless the token may be forgotten", "%s is on a %s, in memory: what it holds is gone after a reboot", dir, m.memory)
	case m.network != "":
		d.warn("medium", "use a local file system", "%s is on a %s: locks and durable writes are not what they are on a local file system", dir, m.network)
	}
	if m.readOnly {
		d.warn("writable", "mount -o remount,rw it, if anything is to be changed", "the file system is mounted read-only: signing works, changes are refused, and wrong PINs are counted in memory")
	}
	switch need := log + lowSpace; {
	case m.free < 0 || m.readOnly:
	case m.free == 0 || m.files == 0:
		what := "bytes"
		if m.free > 0 {
			what = "files"
		}
		d.problem("space", "free some space on the file system of "+dir, "the file system is full: there is room for no more %s, and changes are refused; signing works", what)
	case m.free < need:
		d.warn("space", "free some space on the file system of "+dir, "%s are free of %s: a compaction of the log may not find the %s that it needs", bytesText(m.free), bytesText(m.size), bytesText(need))
	default:
		d.good("space", "%s are free of %s", bytesText(m.free), bytesText(m.size))
	}
	switch {
	case m.eol >= 3 || m.life >= 11:
		d.problem("wear", "back the token up now, and replace the medium", "%s says that it is worn out (life time %s, pre-EOL %d)", m.device, lifeText(m.life), m.eol)
	case m.eol == 2 || m.life >= 9:
		d.warn("wear", "plan to replace the medium", "%s says that it nears its end (life time %s, pre-EOL %d)", m.device, lifeText(m.life), m.eol)
	case m.life > 0:
		d.good("wear", "%s says that of its life time %s are used", m.device, lifeText(m.life))
	default:
		d.good("wear", "the medium does not say how worn it is")
	}
}

func lifeText(n int) string {
	switch {
	case n <= 0:
		return "unknown"
	case n > 10:
		return "more than 100 %"
	}
	return fmt.Sprintf("%d to %d %%", 10*(n-1), 10*n)
}

func bytesText(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}
