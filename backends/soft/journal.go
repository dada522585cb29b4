package soft

import (
	"errors"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/pal"
)

// On a store that cannot make several changes as one step, the record "journal"
// stands for the step while it is under way:
//
//	save the journal           from here on an interruption is noticed
//	save the new records       the last one, the guard, is the moment of the change
//	remove the old records
//	remove the journal
//
// Without new records the journal itself is the moment. Whoever finds a journal
// takes its losers for absent, and removes them when it may write: the old
// records if the guard is there, the new ones if it is not.

// maxJournal is how many names a journal holds, so that it fits into a record.
const maxJournal = 500

func (t *Token) journaled(c *change) error {
	j := journalRecord{}
	for i, s := range c.save {
		if i == len(c.save)-1 {
			j.guard = s.Name
		} else {
			j.undone = append(j.undone, s.Name)
		}
	}
	remove, removed, saved := c.remove, c.removed, c.saved
	for first := true; first || len(remove) > 0; first = false {
		n := min(len(remove), maxJournal)
		j.done, remove = remove[:n], remove[n:]
		n = min(len(removed), maxJournal) // none of a token without inventory
		next, err := t.announce(saved, removed[:n])
		if err != nil {
			return err
		}
		saved, removed = nil, removed[n:]
		if err := t.store.Save(nameJournal, j.encode()); err != nil {
			t.store.Remove(nameJournal) // it may be there
			return t.wrote(err)
		}
		var failed error
		if first {
			for _, s := range c.save {
				if failed = t.store.Save(s.Name, s.Data); failed != nil {
					break
				}
			}
		}
		happened, err := t.settle(j)
		switch {
		case failed != nil && (err != nil || !happened):
			return t.wrote(failed)
		case err != nil && len(remove) > 0:
			return t.wrote(err)
		}
		t.stock = next
		// If what goes could not be removed, the journal hides it until it can.
		j.guard, j.undone = "", nil
	}
	return nil
}

// settle removes the losers of a journal and then the journal, and reports
// whether the change that it stands for has happened.
func (t *Token) settle(j journalRecord) (happened bool, err error) {
	names, err := t.store.Names()
	if err != nil {
		return false, err
	}
	lose, happened, err := t.losers(j, names)
	if err != nil {
		return happened, err
	}
	for _, name := range lose {
		if err := t.store.Remove(name); err != nil && !notThere(err) {
			return happened, err
		}
	}
	if err := t.store.Remove(nameJournal); err != nil && !notThere(err) {
		return happened, err
	}
	return happened, nil
}

// losers returns which of the names in the store have to go, and whether the
// change has happened.
func (t *Token) losers(j journalRecord, names []string) (lose []string, happened bool, err error) {
	if j.wiped != ([8]byte{}) {
		b, err := t.store.Load(nameToken)
		if err != nil {
			return nil, false, err
		}
		rec, err := parseToken(b)
		if err != nil {
			return nil, false, err
		}
		if rec.epoch == j.wiped {
			return nil, false, nil
		}
		for _, name := range names {
			if !strings.HasPrefix(name, objectPrefix) {
				continue
			}
			b, err := t.store.Load(name)
			if notThere(err) {
				continue
			}
			if err != nil && !errors.Is(err, pal.ErrCorrupt) {
				return nil, true, err // it may be one that has to go
			}
			// There is nothing of the new epoch before the journal is gone, apart
			// from what cannot be told.
			if r, perr := parseObject(name, b); err != nil || perr != nil || r.epoch() != rec.epoch {
				lose = append(lose, name)
			}
		}
		return lose, true, nil
	}
	lose = j.undone
	if happened = j.guard == "" || slices.Contains(names, j.guard); happened {
		lose = j.done
	}
	return slices.DeleteFunc(slices.Clone(lose), func(name string) bool { return !slices.Contains(names, name) }), happened, nil
}

// recover finishes a change that was interrupted. t.io is held.
func (t *Token) recover() error {
	if _, err := t.store.Load(nameJournal); notThere(err) {
		return nil
	}
	unlock, err := t.lock()
	if err == nil {
		defer unlock()
		err = t.finish()
	}
	if isReadOnly(err) {
		return nil // load obeys the journal, too
	}
	return err
}

// finishJournal is recover in a store that is locked. A store that is a Batcher
// gets no journal while it is open.
func (t *Token) finishJournal() error {
	if t.batcher != nil {
		return nil
	}
	return t.finish()
}

func (t *Token) finish() error {
	b, err := t.store.Load(nameJournal)
	if notThere(err) {
		return nil
	}
	if err != nil {
		return storeError("record "+nameJournal, err)
	}
	j, err := parseJournal(b)
	if err != nil {
		return err
	}
	if _, err := t.settle(j); err != nil {
		return t.wrote(err)
	}
	t.loaded.Store(false)
	return nil
}
