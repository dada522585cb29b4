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
	t.io.Lock()
	defer t.io.Unlock()
	unlock, err := t.lock()
	if err != nil {
		return
	}
	defer unlock()
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
	if len(t.noted) == 0 {
		return
	}
	t.io.Unlock()
	defer t.io.Lock()
	t.changeSessions(func(r *sessionsRecord) {
		r.handles = slices.DeleteFunc(r.handles, func(h uint32) bool { return slices.Contains(t.noted, h) })
		t.noted = nil
	})
}

// endRecorded ends those of the sessions that a process of this token has noted
// and not ended, and returns the others. If that process is alive, it begins
// another one.
func (c *channel) endRecorded(sessions []uint32) (others []uint32, err error) {
	t := c.t
	t.io.Lock()
	b, err := t.store.Load(nameSessions)
	t.io.Unlock()
	if err != nil {
		return sessions, nil
	}
	r, err := parseSessions(b)
	if err != nil || len(r.handles) == 0 {
		return sessions, nil
	}
	now, err := c.resets()
	if err != nil {
		return nil, err
	}
	for _, h := range sessions {
		if now != r.resets || !slices.Contains(r.handles, h) {
			others = append(others, h)
		} else if err := c.flush(h); err != nil {
			return nil, err
		}
	}
	t.changeSessions(func(r *sessionsRecord) { r.handles = nil })
	return others, nil
}
