package soft

import (
	"errors"
	"runtime"
	"time"

	"github.com/go-cryptoki/cryptoki/pal"
)

// A change is a change of token objects that happens as one step.
type change struct {
	// prepare makes the records. It is called when the objects are those of the
	// store and nobody else changes them, with t.io and t.mu held, and again if
	// the change has to wait for another one.
	prepare func(c *change) error
	save    []pal.Change // records to save
	remove  []string     // records to remove
	saved   []delta      // what each of those does to the inventory
	removed []delta
	// apply makes the objects what the store holds now. t.mu is held.
	apply func()

	turn chan struct{} // gets one when the change is done, or its caller is to write
	done bool
	err  error
}

func (c *change) add(name string, data []byte) {
	c.save = append(c.save, pal.Change{Name: name, Data: data})
}

// commit makes a change. Changes that wait while another is written to the
// store are written together, by the one of them that came first.
func (t *Token) commit(c *change) error {
	c.turn = make(chan struct{}, 1)
	t.queueMu.Lock()
	t.queue = append(t.queue, c)
	wait := t.writing
	t.writing = true
	t.queueMu.Unlock()
	if wait {
		if <-c.turn; c.done {
			return c.err
		}
	}
	for !c.done {
		t.writeQueue(c)
	}
	t.queueMu.Lock()
	defer t.queueMu.Unlock()
	if t.writing = len(t.queue) > 0; t.writing {
		t.queue[0].turn <- struct{}{}
	}
	return c.err
}

// writeQueue writes the changes that wait, c of the caller's among them.
func (t *Token) writeQueue(c *change) {
	t.io.Lock()
	defer t.io.Unlock()
	t.gather()
	t.queueMu.Lock()
	all := t.queue
	t.queue = nil
	t.queueMu.Unlock()
	again := t.write(all)
	t.queueMu.Lock()
	t.queue = append(again, t.queue...)
	t.writers = len(all) + len(t.queue) - len(again)
	t.queueMu.Unlock()
	for _, other := range all {
		if other.done && other != c {
			other.turn <- struct{}{}
		}
	}
}

// maxGather bounds how long a change waits for others.
var maxGather = 500 * time.Microsecond

// gather waits until as many changes wait as there were writers last, but not longer
// than half of what writing took: their next changes, written now, need no sync of
// their own. t.io is held.
func (t *Token) gather() {
	limit := min(t.writeTime/2, maxGather)
	for begin := time.Now(); ; runtime.Gosched() {
		t.queueMu.Lock()
		enough := len(t.queue) >= t.writers
		t.queueMu.Unlock()
		if enough || time.Since(begin) >= limit {
			return
		}
	}
}

// write makes changes, and returns those that have to wait since they concern
// the same objects as others. t.io is held.
func (t *Token) write(all []*change) (again []*change) {
	finish := func(cs []*change, err error) {
		for _, c := range cs {
			if !c.done {
				c.done, c.err = true, err
			}
		}
	}
	unlock, err := t.lock()
	if err != nil {
		finish(all, err)
		return nil
	}
	defer unlock()
	if err := t.finishJournal(); err != nil {
		finish(all, err)
		return nil
	}
	if err := t.refresh(true); err != nil {
		finish(all, err)
		return nil
	}
	var together []*change
	touched := make(map[string]bool)
	t.mu.Lock()
next:
	for _, c := range all {
		c.save, c.remove = c.save[:0], c.remove[:0]
		err := c.prepare(c)
		if err == nil {
			err = t.count(c)
		}
		if err != nil {
			finish([]*change{c}, err)
			continue
		}
		names := c.names()
		for _, name := range names {
			if touched[name] {
				again = append(again, c)
				continue next
			}
		}
		for _, name := range names {
			touched[name] = true
		}
		together = append(together, c)
	}
	t.mu.Unlock()
	if len(together) == 0 {
		return again
	}
	defer func(begin time.Time) { t.writeTime = time.Since(begin) }(time.Now())
	if t.batcher != nil && len(together) > 1 {
		if err := t.batch(together); err == nil {
			t.apply(together...)
			finish(together, nil)
			return again
		}
		// One of them is at fault; each for itself tells which.
	}
	for _, c := range together {
		if err := t.writeOne(c); err != nil {
			finish([]*change{c}, err)
			continue
		}
		t.apply(c)
		finish([]*change{c}, nil)
	}
	return again
}

func (c *change) names() []string {
	names := make([]string, 0, len(c.save)+len(c.remove))
	for _, s := range c.save {
		names = append(names, s.Name)
	}
	return append(names, c.remove...)
}

func (t *Token) apply(cs ...*change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ordered = nil
	for _, c := range cs {
		c.apply()
	}
}

// lock keeps other processes from changing the store. t.io is held. The error of
// unlocking is of no use: what was to be written is.
func (t *Token) lock() (unlock func(), err error) {
	if t.locker == nil {
		return func() {}, nil
	}
	u, err := t.locker.Lock()
	if err != nil {
		if errors.Is(err, pal.ErrReadOnly) {
			t.noteReadOnly(true)
		}
		return nil, storeError("lock", err)
	}
	return func() { u() }, nil
}

// noteReadOnly notes whether the store can be written.
func (t *Token) noteReadOnly(is bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.readOnly == is {
		return
	}
	t.readOnly = is
	if t.info.Load() != nil {
		t.publish()
	}
}

// writeOne writes one change as one step.
func (t *Token) writeOne(c *change) error {
	switch n := len(c.save) + len(c.remove); {
	case n == 0:
		return nil
	case t.batcher != nil && (n > 1 || len(c.saved)+len(c.removed) > 0):
		return t.batch([]*change{c})
	case n > 1:
		return t.journaled(c)
	}
	next, err := t.announce(c.saved, c.removed)
	if err != nil {
		return err
	}
	if len(c.save) == 1 {
		err = t.store.Save(c.save[0].Name, c.save[0].Data)
	} else if err = t.store.Remove(c.remove[0]); notThere(err) {
		err = nil
	}
	if err == nil {
		t.stock = next
	}
	return t.wrote(err)
}

func (t *Token) batch(cs []*change) error {
	var all []pal.Change
	next := t.stock
	for _, c := range cs {
		all = append(all, c.save...)
		for _, name := range c.remove {
			all = append(all, pal.Change{Name: name})
		}
		next = next.after(c.saved).after(c.removed)
	}
	if len(all) > 0 {
		book, err := t.inventoryChange(next, next)
		if err != nil {
			return err
		}
		all = append(all, book...)
	}
	err := t.batcher.Batch(all)
	if err == nil {
		t.stock = next
	}
	return t.wrote(err)
}

// wrote is what to do with the error of the store after writing. What was to be
// written may be there all the same, so the objects are read again.
func (t *Token) wrote(err error) error {
	if err == nil {
		t.noteReadOnly(false)
		return nil
	}
	t.reread = true
	t.loaded.Store(false)
	if errors.Is(err, pal.ErrReadOnly) {
		t.noteReadOnly(true)
	}
	return storeError("write", err)
}

// mayChange reports why token objects cannot be changed now. The objects are those
// of the store. t.mu is held.
func (t *Token) mayChange() error {
	if err := t.mayWrite(); err != nil {
		return err
	}
	return t.refused
}

// mayWrite reports why whoever is logged in cannot change objects. t.mu is held.
func (t *Token) mayWrite() error {
	switch {
	case t.rec == nil:
		return errUninitialized
	case t.keys == nil:
		return errNotLoggedIn
	}
	return nil
}
