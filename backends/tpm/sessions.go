package tpm

import (
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// resets reads what tells one start of the TPM from another: the counts of resets
// and restarts. Part 2, 10.11.1.
func (c *channel) resets() (uint64, error) {
	r, err := c.run(tpm2.TPMCCReadClock, nil, nil)
	if err != nil {
		return 0, err
	}
	p := r.reader()
	p.u64() // time
	p.u64() // clock
	n := p.u64()
	p.u8() // safe
	if !p.done() {
		return 0, &commandError{tpm2.TPMCCReadClock, errGarbled}
	}
	return n, nil
}

// noteSession notes a session that is kept, on a TPM that would keep it when this
// process dies. A store that cannot be written cannot help there.
func (c *channel) noteSession(handle uint32) {
	t := c.t
	if t.managed.Load() {
		return
	}
	now, err := c.resets()
	if err != nil {
		return
	}
	t.changeSessions(func(r *sessionsRecord) {
		if r.resets != now {
			*r = sessionsRecord{resets: now}
		}
		if !slices.Contains(r.handles, handle) {
			r.handles = append(r.handles, handle)
		}
		t.noted = append(t.noted, handle)
	})
}

// changeSessions changes the record of sessions, as far as that is possible.
func (t *Token) changeSessions(change func(*sessionsRecord)) {
	release, err := t.exclusive()
	if err != nil {
		return
	}
	defer release()
	var r sessionsRecord
	if b, err := t.store.Load(nameSessions); err == nil {
		r, _ = parseSessions(b)
	}
	before := len(r.handles)
	change(&r)
	switch {
	case len(r.handles) > 0:
		if isReadOnly(t.store.Save(nameSessions, r.encode())) {
			t.noteReadOnly()
		}
	case before > 0:
		t.store.Remove(nameSessions)
	}
}

// dropSessions forgets the sessions that this process has noted, which it has
// ended.
func (t *Token) dropSessions() {
	t.io.Lock()
	none := len(t.noted) == 0
	t.io.Unlock()
	if none {
		return
	}
	t.changeSessions(func(r *sessionsRecord) {
		r.handles = slices.DeleteFunc(r.handles, func(h uint32) bool { return slices.Contains(t.noted, h) })
		t.noted = nil
	})
}

// unclean returns the sessions that a process of this token has noted and not
// ended, and reads the objects, so that their Names are known.
func (t *Token) unclean() (r sessionsRecord, ok bool) {
	t.io.Lock()
	defer t.io.Unlock()
	b, err := t.store.Load(nameSessions)
	if err != nil {
		return r, false
	}
	if r, err = parseSessions(b); err != nil {
		return r, false
	}
	t.refresh(false) // what cannot be read is not found
	return r, true
}

// endRecorded ends the sessions of a process of this token that died. If it is
// alive, it begins others.
func (c *channel) endRecorded(r sessionsRecord) error {
	sessions, err := c.handles(firstSession)
	if err != nil {
		return err
	}
	now, err := c.resets()
	if err != nil {
		return err
	}
	for _, h := range sessions {
		if now == r.resets && slices.Contains(r.handles, h) {
			if err := c.flush(h); err != nil {
				return err
			}
		}
	}
	c.t.changeSessions(func(r *sessionsRecord) { r.handles = nil })
	return nil
}
