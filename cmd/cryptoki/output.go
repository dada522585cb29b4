package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// write sends a result to standard output.
func (a *app) write(b []byte) error {
	_, err := a.stdout.Write(b)
	if err != nil {
		return fmt.Errorf("standard output: %w", cause(err))
	}
	return nil
}

func (a *app) printf(format string, args ...any) error {
	return a.write(fmt.Appendf(nil, format, args...))
}

// note tells a person something beside the result.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, "cryptoki: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

func (a *app) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return a.write(append(b, '\n'))
}

// table prints rows in columns as wide as they need be.
func (a *app) table(rows [][]string) error {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(oneLine(cell)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = oneLine(cell)
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return a.write([]byte(b.String()))
}

// patience is how long something may take before a person is told what it is.
const patience = 500 * time.Millisecond

// progress says on standard error what is being done, once that has taken longer
// than patience. On a terminal the line counts seconds and is removed at the
// end; elsewhere it is one plain line. The function that it returns ends it.
func (a *app) progress(what string) (stop func()) {
	var (
		mu     sync.Mutex
		shown  bool
		over   bool
		timer  *time.Timer
		start  = time.Now()
		screen = isTerminal(a.stderr)
	)
	timer = time.AfterFunc(patience, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		if !screen {
			a.note("%s ...", what)
			return
		}
		shown = true
		fmt.Fprintf(a.stderr, "\r%s ... %d s", what, int(time.Since(start).Seconds()))
		timer.Reset(time.Second)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
		if shown {
			fmt.Fprint(a.stderr, "\r\x1b[K")
		}
	}
}
