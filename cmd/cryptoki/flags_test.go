package main

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParse(t *testing.T) {
	type result struct {
		text  string
		on    bool
		n     int
		many  []string
		word  string
		rest  []string
		fails string
	}
	for _, test := range []struct {
		args []string
		want result
	}{
		{[]string{"a", "--text", "x", "b", "-o", "c"}, result{text: "x", on: true, rest: []string{"a", "b", "c"}}},
		{[]string{"--text=x=y", "--on=false", "-"}, result{text: "x=y", rest: []string{"-"}}},
		{[]string{"-t", "--", "--", "--on"}, result{text: "--", rest: []string{"--on"}}},
		{[]string{"--text", ""}, result{}},
		{[]string{"--many", "a", "--many=b"}, result{many: []string{"a", "b"}}},
		{[]string{"--number", "7", "--word", "TWO"}, result{n: 7, word: "two"}},
		{[]string{"--text"}, result{fails: "flag --text needs a value: T"}},
		{[]string{"--number", "8"}, result{fails: `flag --number: "8" is not a number from 0 to 7`}},
		{[]string{"--number", "x"}, result{fails: `"x" is not a number`}},
		{[]string{"--word", "three"}, result{fails: `"three" is none of one, two`}},
		{[]string{"--on=maybe"}, result{fails: "neither true nor false"}},
		{[]string{"-text", "x"}, result{fails: "unknown flag -text: write --text"}},
		{[]string{"--t", "x"}, result{fails: "unknown flag --t"}},
		{[]string{"--nothing=secret"}, result{fails: "unknown flag --nothing"}},
		{[]string{"--="}, result{fails: "unknown flag --"}},
	} {
		got := result{n: -1}
		var o options
		o.str(&got.text, "text,t", "T", "text")
		o.flag(&got.on, "on,o", "switch")
		o.num(&got.n, "number", "N", "number", 0, 7)
		o.strs(&got.many, "many", "M", "many")
		o.choice(&got.word, "word", []string{"one", "two"}, "word")
		var err error
		got.rest, err = o.parse(test.args, false)
		if test.want.fails != "" {
			if u := (*usageError)(nil); err == nil || !strings.Contains(err.Error(), test.want.fails) || !errors.As(err, &u) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: got error %v, want %q", test.args, err, test.want.fails)
			}
			continue
		}
		if test.want.n == 0 {
			test.want.n = -1
		}
		if err != nil || got.text != test.want.text || got.on != test.want.on || got.n != test.want.n || got.word != test.want.word ||
			!slices.Equal(got.many, test.want.many) || !slices.Equal(got.rest, test.want.rest) {
			t.Errorf("%q: got %+v %v, want %+v", test.args, got, err, test.want)
		}
	}
}

// A PIN on the command line is refused without being repeated.
func TestNoPINInArguments(t *testing.T) {
	for _, arg := range []string{"--pin=1357", "--so-pin=1357", "--new-pin=1357", "-p=1357"} {
		a := &app{pins: newPins()}
		_, err := a.shared(nil).parse([]string{arg}, true)
		if err == nil || !strings.Contains(err.Error(), "visible to every process") || strings.Contains(err.Error(), "1357") {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// What takes long is announced after half a second, what does not is not.
func TestProgress(t *testing.T) {
	for _, test := range []struct {
		takes time.Duration
		want  string
	}{
		{patience - time.Millisecond, ""},
		{patience + time.Millisecond, "cryptoki: generating ...\n"},
		{10 * patience, "cryptoki: generating ...\n"},
	} {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			stop := (&app{stderr: f}).progress("generating")
			time.Sleep(test.takes)
			synctest.Wait()
			stop()
			stop()
			time.Sleep(time.Hour)
		})
		f.Seek(0, io.SeekStart)
		if got, _ := io.ReadAll(f); string(got) != test.want {
			t.Errorf("after %v: got %q, want %q", test.takes, got, test.want)
		}
	}
}

// Whatever a name from a file or a token holds, a message is one line and does
// not steer the terminal.
func TestOneLine(t *testing.T) {
	if got := oneLine("a\nb\tc\x1b[2Jd\u009be\x7fé…"); got != "a b c\uFFFD[2Jd\uFFFDe\uFFFDé…" {
		t.Errorf("got %q", got)
	}
}
