package paltest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
)

// A Medium is a simulated directory on a simulated disk, for stores that keep
// their records in files: it is a fileflash.FS. It knows what is only in memory
// and what is durable, so that it can tell what may be found when the power
// comes back: [PowerCuts]. Its calls can fail: [Faults].
//
// Several stores, standing for several processes, may use one Medium at once.
type Medium struct {
	mu    sync.Mutex
	nodes map[int]*node
	next  int            // id of the next node
	names map[string]int // as programs see them
	kept  map[string]int // as they are on the disk
	moves []move         // changes of names that are not durable yet

	usage     Usage
	capacity  int64 // 0 for no limit
	readOnly  bool
	done      int
	recording bool
	trace     []event
	fault     *fault

	lock chan struct{}
}

// Usage counts what has been done on a Medium.
type Usage struct {
	Writes   int
	Bytes    int64 // written
	Syncs    int   // of files
	DirSyncs int
	Reads    int
	Renames  int
	Status   int // calls that ask for sizes and names
}

// A node is a file, with or without a name.
type node struct {
	data content // as programs see it
	base content // durable, together with the ops that are
	ops  []op    // what was done since base, in order
}

// A content is the bytes of a file. Those in a gap, which is left where a file
// becomes longer than what is written, are zeros; nothing was ever written there,
// so that there may be no place for them on the disk. What has several owners is
// copied by the one that writes it. The race detector does not look at the copies,
// which are most of what a Medium does; it does look at the Medium's fields, and at
// what a caller passes.
type content struct {
	bytes  []byte
	gap    []bool // for each byte, or nil if there is none
	shared bool   // with other contents
}

func newContent(b []byte) content { return content{bytes: slices.Clone(b)} }

// share returns the content for another owner.
func (c *content) share() content {
	c.shared = true
	return *c
}

//go:norace
func (c content) own() content {
	if !c.shared {
		return c
	}
	return content{bytes: slices.Clone(c.bytes), gap: slices.Clone(c.gap)}
}

// write writes data at off, after a gap if that is behind the end.
//
//go:norace
func (c content) write(off int64, data []byte) content {
	if end := off + int64(len(data)); end > int64(len(c.bytes)) {
		c = c.resize(end)
	}
	c = c.own()
	copy(c.bytes[off:], data)
	if c.gap != nil {
		clear(c.gap[off:][:len(data)])
	}
	return c
}

//go:norace
func (c content) resize(size int64) content {
	old := int64(len(c.bytes))
	if size <= old {
		c.bytes = c.bytes[:size:size]
		if c.gap != nil {
			c.gap = c.gap[:size:size]
		}
		return c
	}
	bytes, gap := make([]byte, size), make([]bool, size)
	copy(bytes, c.bytes)
	copy(gap, c.gap)
	for i := old; i < size; i++ {
		gap[i] = true
	}
	return content{bytes: bytes, gap: gap}
}

// do is what an op makes of the content.
func (c content) do(o op) content {
	if o.data == nil {
		return c.resize(o.off)
	}
	return c.write(o.off, o.data)
}

// An op is a write, or a truncation if data is nil.
type op struct {
	off   int64 // or the size
	data  []byte
	state opState
}

type opState int

const (
	unsynced opState = iota
	synced           // durable, but behind one that is not certain
	failed           // its sync failed: it may or may not be on the disk, and no later sync changes that
)

// A move is a change of names: from loses its file, to gets it. Either may be "".
type move struct {
	from, to string
	node     int
}

// An event is one call that changes something.
type event struct {
	kind        string // write, truncate, sync, create, rename, remove, syncdir, done; syncfail
	node        int
	off         int64
	data        []byte
	name, name2 string
}

// NewMedium returns an empty Medium.
func NewMedium() *Medium {
	return &Medium{
		nodes: map[int]*node{}, names: map[string]int{}, kept: map[string]int{},
		lock: make(chan struct{}, 1),
	}
}

// Clone returns a copy: the same files, the same uncertainty about them. Faults,
// locks and counts are not copied.
func (m *Medium) Clone() *Medium {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMedium()
	c.next, c.done, c.capacity, c.readOnly = m.next, m.done, m.capacity, m.readOnly
	c.names, c.kept, c.moves = maps.Clone(m.names), maps.Clone(m.kept), slices.Clone(m.moves)
	for id, n := range m.nodes {
		c.nodes[id] = &node{data: n.data.share(), base: n.base.share(), ops: slices.Clone(n.ops)}
	}
	return c
}

// Done counts a step of a scenario as completed: what it did must survive.
func (m *Medium) Done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.record(event{kind: "done"})
}

// Usage returns the counts so far.
func (m *Medium) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage
}

// SetCapacity limits the bytes in all files, 0 for no limit. What does not fit is
// ENOSPC, after as much as does fit was written.
func (m *Medium) SetCapacity(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = n
}

// SetReadOnly makes every change fail with EROFS.
func (m *Medium) SetReadOnly(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readOnly = on
}

// ReadFile returns the content of a file.
func (m *Medium) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, ok := m.names[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(m.nodes[id].data.bytes), nil
}

// WriteFile makes a file, durably, behind the back of those that have it open:
// it replaces an older one of that name.
func (m *Medium) WriteFile(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(name, newContent(data))
}

func (m *Medium) put(name string, c content) {
	m.next++
	m.nodes[m.next] = &node{data: c.share(), base: c.share()}
	m.names[name], m.kept[name] = m.next, m.next
}

// Size returns the number of bytes in all files that have a name.
func (m *Medium) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size()
}

func (m *Medium) size() int64 {
	var n int64
	for _, id := range m.names {
		n += int64(len(m.nodes[id].data.bytes))
	}
	return n
}

// record applies an event, and notes it while a scenario is recorded.
func (m *Medium) record(e event) {
	e.data = slices.Clone(e.data)
	if m.recording {
		m.trace = append(m.trace, e)
	}
	m.apply(e)
}

func (m *Medium) apply(e event) {
	switch e.kind {
	case "write":
		m.nodes[e.node].do(op{off: e.off, data: e.data})
		m.usage.Writes++
		m.usage.Bytes += int64(len(e.data))
	case "truncate":
		m.nodes[e.node].do(op{off: e.off})
	case "sync":
		m.nodes[e.node].sync(synced)
		m.usage.Syncs++
	case "syncfail":
		m.nodes[e.node].sync(failed)
	case "create":
		m.nodes[e.node] = &node{}
		m.next = max(m.next, e.node)
		m.move(move{to: e.name, node: e.node})
	case "rename":
		m.move(move{from: e.name, to: e.name2, node: m.names[e.name]})
		m.usage.Renames++
	case "remove":
		m.move(move{from: e.name})
	case "syncdir":
		for _, mv := range m.moves {
			mv.apply(m.kept)
		}
		m.moves = nil
		m.usage.DirSyncs++
	case "done":
		m.done++
	}
}

func (m *Medium) move(mv move) {
	mv.apply(m.names)
	m.moves = append(m.moves, mv)
}

func (mv move) apply(names map[string]int) {
	if mv.from != "" {
		delete(names, mv.from)
	}
	if mv.to != "" {
		names[mv.to] = mv.node
	}
}

func (n *node) do(o op) {
	n.data = n.data.do(o)
	n.ops = append(n.ops, o)
}

// sync turns what is not synced into the state. Without doubt left, all of it is
// the new base.
func (n *node) sync(to opState) {
	doubt := false
	for i := range n.ops {
		if n.ops[i].state == unsynced {
			n.ops[i].state = to
		}
		doubt = doubt || n.ops[i].state == failed
	}
	if !doubt {
		for _, o := range n.ops {
			n.base = n.base.do(o) // which is data now, without a copy of it
		}
		n.ops = nil
	}
}

// A File is an open file, as fileflash.File describes it.
type File = interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Status() (size int64, linked bool, err error)
	Close() error
}

// OpenFile opens or creates a file.
func (m *Medium) OpenFile(name string, flag int) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kind := "open"
	if flag&os.O_CREATE != 0 {
		kind = "create"
	}
	if err := m.call(kind, flag&os.O_RDWR != 0); err != nil {
		return nil, err
	}
	id, ok := m.names[name]
	switch {
	case ok && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case !ok && kind == "open":
		return nil, fs.ErrNotExist
	case !ok:
		id = m.next + 1
		m.record(event{kind: "create", node: id, name: name})
	}
	return &mediumFile{m: m, id: id, writable: flag&os.O_RDWR != 0}, nil
}

// Current reports whether f is the file of that name.
func (m *Medium) Current(name string, f File) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.usage.Status++
	if err := m.call("status", false); err != nil {
		return false, err
	}
	id, ok := m.names[name]
	return ok && id == f.(*mediumFile).id, nil
}

// Rename gives the file the other name.
func (m *Medium) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("rename", true); err != nil {
		return err
	}
	if _, ok := m.names[from]; !ok {
		return fs.ErrNotExist
	}
	m.record(event{kind: "rename", name: from, name2: to})
	return nil
}

// Remove deletes the file.
func (m *Medium) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.names[name]; !ok {
		if err := m.call("status", false); err != nil {
			return err
		}
		return fs.ErrNotExist
	}
	if err := m.call("remove", true); err != nil {
		return err
	}
	m.record(event{kind: "remove", name: name})
	return nil
}

// Names lists the files.
func (m *Medium) Names() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("status", false); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(m.names)), nil
}

// SyncDir makes names durable.
func (m *Medium) SyncDir() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("syncdir", false); err != nil {
		return err
	}
	m.record(event{kind: "syncdir"})
	return nil
}

// Writable returns EROFS after SetReadOnly.
func (m *Medium) Writable() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readOnly {
		return syscall.EROFS
	}
	return nil
}

// Lock waits until no other has the lock.
func (m *Medium) Lock() (unlock func() error, err error) {
	m.mu.Lock()
	err = m.call("lock", false)
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	m.lock <- struct{}{}
	return func() error { <-m.lock; return nil }, nil
}

// Close does nothing.
func (m *Medium) Close() error { return nil }

type mediumFile struct {
	m        *Medium
	id       int
	writable bool
	closed   bool
}

func (f *mediumFile) begin(kind string, change bool) (*node, error) {
	if f.closed {
		return nil, fs.ErrClosed
	}
	if change && !f.writable {
		return nil, syscall.EBADF
	}
	return f.m.nodes[f.id], f.m.call(kind, change)
}

func (f *mediumFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.usage.Reads++
	n, err := f.begin("read", false)
	if err != nil {
		return 0, err
	}
	if off >= int64(len(n.data.bytes)) {
		return 0, io.EOF
	}
	got := copy(p, n.data.bytes[off:])
	if got < len(p) {
		return got, io.EOF
	}
	return got, nil
}

func (f *mediumFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n, err := f.begin("write", true)
	room := len(p)
	var part *partial
	if errors.As(err, &part) {
		room = len(p) / 2
	} else if err != nil {
		return 0, err
	}
	if free := f.m.capacity - f.m.size(); f.m.capacity > 0 {
		if grows := off + int64(room) - int64(len(n.data.bytes)); grows > free {
			room, err = int(max(0, int64(room)-(grows-max(0, free)))), syscall.ENOSPC
		}
	}
	if room > 0 {
		f.m.record(event{kind: "write", node: f.id, off: off, data: p[:room]})
	}
	return room, err
}

func (f *mediumFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if _, err := f.begin("truncate", true); err != nil {
		return err
	}
	f.m.record(event{kind: "truncate", node: f.id, off: size})
	return nil
}

func (f *mediumFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if _, err := f.begin("sync", false); err != nil {
		f.m.record(event{kind: "syncfail", node: f.id})
		return err
	}
	f.m.record(event{kind: "sync", node: f.id})
	return nil
}

func (f *mediumFile) Status() (size int64, linked bool, err error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.usage.Status++
	n, err := f.begin("status", false)
	if err != nil {
		return 0, false, err
	}
	for _, id := range f.m.names {
		linked = linked || id == f.id
	}
	return int64(len(n.data.bytes)), linked, nil
}

func (f *mediumFile) Close() error {
	f.closed = true
	return nil
}

// call counts a call, and says how it is to fail.
func (m *Medium) call(kind string, change bool) error {
	if m.fault != nil {
		if err := m.fault.call(kind, change); err != nil {
			return err
		}
	}
	if change && m.readOnly {
		return syscall.EROFS
	}
	return nil
}

func (e event) String() string {
	switch e.kind {
	case "write":
		return fmt.Sprintf("write of %d bytes at %d in file %d", len(e.data), e.off, e.node)
	case "truncate":
		return fmt.Sprintf("truncation of file %d to %d", e.node, e.off)
	case "sync", "syncfail":
		return fmt.Sprintf("%s of file %d", e.kind, e.node)
	case "create":
		return fmt.Sprintf("creation of %s as file %d", e.name, e.node)
	case "rename":
		return fmt.Sprintf("rename of %s to %s", e.name, e.name2)
	case "remove":
		return "removal of " + e.name
	}
	return e.kind
}
