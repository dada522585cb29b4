package paltest

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
)

// A fault makes calls fail from the n-th on that it may affect.
type fault struct {
	faultKind
	after int // calls that still succeed
	hit   string
}

type faultKind struct {
	name   string
	errno  syscall.Errno
	kinds  []string // of the calls that it affects, nil for all
	change bool     // it affects the calls that change something
	half   bool     // half of a write is done
	once   bool
}

// partial is the error of a write of which half is done.
type partial struct{ syscall.Errno }

func (p *partial) Unwrap() error { return p.Errno }

func (f *fault) call(kind string, change bool) error {
	if !(f.kinds == nil && !f.change) && !slices.Contains(f.kinds, kind) && !(f.change && change) {
		return nil
	}
	if f.after > 0 {
		f.after--
		return nil
	}
	if f.hit != "" && f.once {
		return nil
	}
	if f.hit == "" {
		f.hit = kind
	}
	if f.half && kind == "write" {
		return &partial{f.errno}
	}
	return f.errno
}

var faultKinds = []faultKind{
	{name: "EIO", errno: syscall.EIO, once: true},
	{name: "EIO from then on", errno: syscall.EIO},
	{name: "ENOSPC", errno: syscall.ENOSPC, kinds: []string{"create", "write", "sync", "rename"}, once: true},
	{name: "ENOSPC after half of a write", errno: syscall.ENOSPC, kinds: []string{"write"}, half: true, once: true},
	{name: "ENOSPC from then on", errno: syscall.ENOSPC, kinds: []string{"create", "write", "rename"}, half: true},
	{name: "EROFS from then on", errno: syscall.EROFS, change: true},
}

// A Fault says which call of a scenario failed, and how.
type Fault struct {
	Cut
	// Errno is what the call returned, Call its kind: open, create, read, write,
	// truncate, sync, rename, remove, syncdir, status or lock.
	Errno syscall.Errno
	Call  string
	// Once says that only this call failed; else all that followed did too.
	Once bool
	// Live says that the Medium is the one that run was given, so that what run
	// has left open can go on with it. No power cut came after the fault.
	Live bool
}

// Faults runs a scenario on copies of start (nil for an empty Medium), once for
// each of its calls and each way in which that may fail: a full disk, a disk that
// became read-only, an I/O error, once or from then on. Nothing fails any more
// when check is called: with the Medium as the next process finds it, and as it
// is found after the power was cut at the end of the scenario, once without all
// that was not synced, and once with.
//
// run returns the error of the step that failed; for a fault that happens once,
// it should try again.
func Faults(t *testing.T, start *Medium, run func(m *Medium) error, check func(f *Fault) error) {
	t.Helper()
	if start == nil {
		start = NewMedium()
	}
	failures, total := 0, 0
	for _, kind := range faultKinds {
		for n := 0; failures < maxFailures; n++ {
			m := start.Clone()
			m.fault = &fault{faultKind: kind, after: n}
			err := run(m)
			hit := m.fault.hit
			if hit == "" {
				break
			}
			total++
			m.fault = nil
			lost := m.Clone()
			lost.crash(false)
			there := m.Clone()
			there.crash(true)
			for _, c := range []struct {
				m    *Medium
				what string
			}{{m, "then restarted"}, {lost, "then a power cut that lost all not synced"}, {there, "then a power cut that lost nothing"}} {
				f := &Fault{
					Cut:   Cut{Medium: c.m, Done: m.done, Err: err, Where: fmt.Sprintf("%s at call %d of its kind (%s), %s", kind.name, n+1, hit, c.what)},
					Errno: kind.errno, Call: hit, Once: kind.once, Live: c.m == m,
				}
				if err := check(f); err != nil {
					t.Errorf("%s: %v", f.Where, err)
					failures++
				}
			}
		}
	}
	t.Logf("%d faults", total)
}

// crash makes the Medium what it is after a power cut, with all that was not
// synced or without.
func (m *Medium) crash(all bool) {
	if !all {
		m.names, m.moves = m.kept, nil
	}
	for _, mv := range m.moves {
		mv.apply(m.kept)
	}
	m.moves, m.names = nil, m.kept
	m.kept = map[string]int{}
	for name, id := range m.names {
		m.kept[name] = id
	}
	for _, n := range m.nodes {
		for _, o := range n.ops {
			if all || o.state == synced {
				n.base = n.base.do(o)
			}
		}
		n.data, n.ops = n.base.share(), nil
	}
}
