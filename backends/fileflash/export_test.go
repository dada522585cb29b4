package fileflash

// Queued is the number of changes that wait to be written.
func (s *Store) Queued() int {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	return len(s.queue)
}

// Limits of the log's size.
const (
	MinLog     = minLog
	MaxGarbage = maxGarbage
)
