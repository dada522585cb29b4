package paltest

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"testing"
)

// A Cut is a Medium as it may be found after something went wrong in a scenario.
type Cut struct {
	// Medium is what is there; it can be written.
	Medium *Medium
	// Done is how many times the scenario had called Medium.Done. The state must
	// be that after so many steps, or that after one more.
	Done int
	// Where says what happened.
	Where string
	// Err is what the scenario returned, if it ran to its end.
	Err error
}

// maxFailures ends a test that has failed so many times.
const maxFailures = 10

// everyByte is the longest write that is torn at every byte.
const everyByte = 300

// PowerCuts runs a scenario on a copy of start (nil for an empty Medium), and
// then calls check with what may be found if the power goes before, within or
// after each of its calls.
//
// What was not synced may be there or not, each write and each change of a name
// on its own. A write may be torn at any byte, or miss any sector; what is
// missing reads as what was written there before, as zeros, as other bytes, or the
// file ends before it; where a file was only made longer, nothing was written. run calls Medium.Done after each step that must survive; it should
// have changed something.
func PowerCuts(t *testing.T, start *Medium, run func(m *Medium) error, check func(c *Cut) error) {
	t.Helper()
	calls, states, errs := powerCuts(start, true, run, check)
	for _, err := range errs {
		t.Error(err)
	}
	t.Logf("%d calls, %d states of the medium", calls, states)
}

func powerCuts(start *Medium, torn bool, run func(m *Medium) error, check func(c *Cut) error) (calls, states int, errs []error) {
	if start == nil {
		start = NewMedium()
	}
	m, disk := start.Clone(), start.Clone()
	m.recording = true
	if err := run(m); err != nil {
		return 0, 0, []error{fmt.Errorf("the scenario failed without a power cut: %w", err)}
	}
	found := map[string]bool{}
	where := "before the first call"
	try := func(o outcome) {
		key := o.sum(disk.done)
		if len(errs) >= maxFailures || found[key] {
			return
		}
		found[key] = true
		c := &Cut{Medium: o.medium(disk.done), Done: disk.done, Where: fmt.Sprintf("power cut %s; %s", where, o.what())}
		if err := check(c); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Where, err))
		}
	}
	disk.found(torn, try)
	for i, e := range m.trace {
		disk.apply(e)
		where = fmt.Sprintf("after call %d of %d, the %v", i+1, len(m.trace), e)
		disk.found(torn, try)
	}
	return len(m.trace), len(found), errs
}

// Kills runs a scenario as PowerCuts does, and calls check with the Medium as
// another process finds it if the one that ran the scenario died before, within
// or after each of its calls. Nothing is lost then, but nothing became durable
// either: PowerCuts can start from that Medium.
func Kills(t *testing.T, start *Medium, run func(m *Medium) error, check func(c *Cut) error) {
	t.Helper()
	if start == nil {
		start = NewMedium()
	}
	m, disk := start.Clone(), start.Clone()
	m.recording = true
	if err := run(m); err != nil {
		t.Fatalf("the scenario failed without being killed: %v", err)
	}
	failures := 0
	try := func(c *Cut) {
		if failures >= maxFailures {
			return
		}
		if err := check(c); err != nil {
			t.Errorf("%s: %v", c.Where, err)
			failures++
		}
	}
	try(&Cut{Medium: disk.Clone(), Done: disk.done, Where: "killed before the first call"})
	for i, e := range m.trace {
		if e.kind == "write" {
			// A signal can end a write between pages.
			for _, p := range []int{1, len(e.data) / 2, 4096} {
				if p < len(e.data) {
					part := disk.Clone()
					short := e
					short.data = e.data[:p]
					part.apply(short)
					try(&Cut{Medium: part, Done: disk.done, Where: fmt.Sprintf("killed %d bytes into call %d, the %v", p, i+1, e)})
				}
			}
		}
		disk.apply(e)
		try(&Cut{Medium: disk.Clone(), Done: disk.done, Where: fmt.Sprintf("killed after call %d, the %v", i+1, e)})
	}
}

// An outcome is a state in which the disk may be found.
type outcome struct {
	names map[string]int
	files map[int]content
	what  func() string
}

// seeds are two, so that no sums are alike by chance.
var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// sum is the same for outcomes with the same files, and no others.
func (o outcome) sum(done int) string {
	b := fmt.Appendf(nil, "%d", done)
	for _, name := range slices.Sorted(maps.Keys(o.names)) {
		data := o.files[o.names[name]].bytes
		b = fmt.Appendf(b, " %q %d %x %x", name, len(data), maphash.Bytes(seeds[0], data), maphash.Bytes(seeds[1], data))
	}
	return string(b)
}

func (o outcome) medium(done int) *Medium {
	m := NewMedium()
	m.done = done
	for name, id := range o.names {
		m.put(name, content{bytes: o.files[id].bytes})
	}
	return m
}

// found calls f with every state in which the disk may be found now; without
// those in which a write is torn, unless torn is set.
func (m *Medium) found(torn bool, f func(outcome)) {
	// The operations that may be there or not, of all files in their order.
	type ref struct{ node, op int }
	var open []ref
	for _, id := range slices.Sorted(maps.Keys(m.nodes)) {
		for i, o := range m.nodes[id].ops {
			if o.state != synced {
				open = append(open, ref{id, i})
			}
		}
	}
	// What the first operations make of a file, one after another.
	begun := map[int][]content{}
	for id, n := range m.nodes {
		begun[id] = []content{n.base.share()}
	}
	after := func(id, ops int) content {
		for i := len(begun[id]) - 1; i < ops; i++ {
			begun[id] = append(begun[id], begun[id][i].share().do(m.nodes[id].ops[i]))
		}
		return begun[id][ops].share()
	}
	files := func(lost map[ref]bool, cut ref, form *tear) map[int]content {
		files := map[int]content{}
		for id, n := range m.nodes {
			there := func(i int) bool { r := (ref{id, i}); return !lost[r] && !(form != nil && r == cut) }
			i := 0
			for i < len(n.ops) && there(i) {
				i++
			}
			c := after(id, i)
			for ; i < len(n.ops); i++ {
				switch {
				case lost[ref{id, i}]:
				case there(i):
					c = c.do(n.ops[i])
				default:
					c = form.apply(c, n.ops[i])
				}
			}
			files[id] = c
		}
		return files
	}
	lose := func(mask []bool) map[ref]bool {
		lost := map[ref]bool{}
		for i, there := range mask {
			if !there {
				lost[open[i]] = true
			}
		}
		return lost
	}
	moved := func(mask []bool) map[string]int {
		names := maps.Clone(m.kept)
		for i, there := range mask {
			if there {
				m.moves[i].apply(names)
			}
		}
		return names
	}
	for _, moves := range subsets(len(m.moves)) {
		for _, writes := range subsets(len(open)) {
			f(outcome{moved(moves), files(lose(writes), ref{}, nil),
				func() string {
					return fmt.Sprintf("names %v and writes %v of what was not synced are there", moves, writes)
				}})
		}
	}
	if !torn {
		return
	}
	for i, r := range open {
		o := m.nodes[r.node].ops[r.op]
		for _, form := range tears(o, i == len(open)-1) {
			for _, others := range []bool{true, false} {
				mask := make([]bool, len(open))
				for j := range mask {
					mask[j] = others || j == i
				}
				moves := make([]bool, len(m.moves))
				for j := range moves {
					moves[j] = others
				}
				f(outcome{moved(moves), files(lose(mask), r, &form),
					func() string {
						return fmt.Sprintf("the write of %d bytes at %d is torn: %v; the others not synced are there: %t", len(o.data), o.off, form, others)
					}})
			}
		}
	}
}

// subsets returns the subsets of n things, or of many things some of them: the
// beginnings, all but one, and each alone.
func subsets(n int) [][]bool {
	var sets [][]bool
	if n <= 4 {
		for bits := range 1 << n {
			s := make([]bool, n)
			for i := range s {
				s[i] = bits>>i&1 != 0
			}
			sets = append(sets, s)
		}
		return sets
	}
	for i := range n + 1 {
		begin, but, alone := make([]bool, n), make([]bool, n), make([]bool, n)
		for j := range n {
			begin[j], but[j], alone[j] = j < i, j != i, j == i
		}
		sets = append(sets, begin, but, alone)
	}
	return sets
}

const sector = 512

// A tear is a write of which only a part arrived: the bytes from begin to end of
// it, or all but those. Where something was written before, that is what is found
// instead; else, and in the gap before a write behind the end, it is fill, or with
// fill < 0 the end of the file if nothing follows, and zeros if something does.
type tear struct {
	begin, end int
	hole       bool
	fill       int
}

func (t tear) String() string {
	part := "only"
	if t.hole {
		part = "all but"
	}
	return fmt.Sprintf("%s bytes %d to %d arrived, fill %d", part, t.begin, t.end, t.fill)
}

func (t tear) apply(before content, o op) content {
	old, n := int64(len(before.bytes)), int64(len(o.data))
	begin, end := o.off+int64(t.begin), o.off+int64(t.end)
	after := before.share().write(o.off, o.data)
	last := o.off // where the last byte that arrived ends
	t.lose(after, before, o, min(old, o.off), o.off)
	if t.hole {
		t.lose(after, before, o, begin, end)
		if t.end < len(o.data) {
			last = o.off + n
		} else {
			last = begin
		}
	} else {
		t.lose(after, before, o, o.off, begin)
		t.lose(after, before, o, end, o.off+n)
		if t.begin < t.end {
			last = end
		}
	}
	if t.fill < 0 {
		after = after.resize(max(last, old))
	}
	return after
}

// lose makes the bytes of a file from one offset to another what they are if the
// write did not arrive there. It is not looked at by the race detector, as the
// other copies of a content are not.
//
//go:norace
func (t tear) lose(after, before content, o op, from, to int64) {
	old := int64(len(before.bytes))
	for at := from; at < to; at++ {
		switch {
		case at < old && (before.gap == nil || !before.gap[at]):
			after.bytes[at] = before.bytes[at]
		case t.fill == 1:
			after.bytes[at] = byte(0xa5 ^ (at-o.off)*29)
		case t.fill < 0:
			after.bytes[at] = 0
		default:
			after.bytes[at] = byte(t.fill)
		}
	}
}

// tears returns the ways in which a write may be torn; only the sectors that miss
// if it is not the last.
func tears(o op, last bool) []tear {
	n := len(o.data)
	if n == 0 {
		return nil // a truncation
	}
	var all []tear
	first := sector - int(o.off%sector) // the first boundary within the write
	var bounds []int
	for b := first; b < n; b += sector {
		bounds = append(bounds, b)
	}
	for _, fill := range []int{-1, 0, 0xff, 1} {
		// Each sector missing or alone; of many some.
		edges := append(append([]int{0}, bounds...), n)
		step := max(1, len(edges)/8)
		for i := 0; i+1 < len(edges); i += step {
			all = append(all, tear{edges[i], edges[i+1], true, fill}, tear{edges[i], edges[i+1], false, fill})
		}
		all = append(all, tear{edges[len(edges)-2], n, true, fill})
		if !last || fill == 0xff {
			continue
		}
		for _, p := range cuts(n, bounds) {
			all = append(all, tear{0, p, false, fill})
		}
	}
	return all
}

// cuts returns the lengths at which a write of n bytes is cut: all if it is short,
// else those around its ends and around sectors, and some between.
func cuts(n int, bounds []int) []int {
	set := map[int]bool{}
	for p := range n {
		if n <= everyByte || p < 40 || p >= n-24 || p%(n/40+1) == 0 {
			set[p] = true
		}
	}
	step := max(1, len(bounds)/8)
	for i := 0; i < len(bounds); i += step {
		for d := -1; d <= 1; d++ {
			if p := bounds[i] + d; p > 0 && p < n {
				set[p] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
