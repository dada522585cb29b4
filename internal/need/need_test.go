package need_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/need"
)

// A fake is a test that keeps how it was ended.
type fake struct {
	testing.TB
	end string
}

func (f *fake) Helper() {}

func (f *fake) Fatal(args ...any) { f.stop("fails: ", args) }

func (f *fake) Skip(args ...any) { f.stop("is skipped: ", args) }

func (f *fake) stop(how string, args []any) {
	f.end = how + fmt.Sprint(args...)
	panic(f)
}

// end returns how a test ends that needs something, "" if it goes on.
func end(t *testing.T, test func(t testing.TB)) string {
	t.Helper()
	f := &fake{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != f {
				panic(r)
			}
		}()
		test(f)
	}()
	return f.end
}

func TestNeed(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "tool")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, tt := range []struct {
		name string
		test func(t testing.TB) string
		want string // the path, or the text
		ok   bool
	}{
		{"a program that is there", func(t testing.TB) string { return need.Program(t, "tool", "tools") }, program, true},
		{"a program that is missing", func(t testing.TB) string { return need.Program(t, "no-such-tool", "tools") }, "no-such-tool is missing: apt-get install tools", false},
		{"a file that is there", func(t testing.TB) string { return need.File(t, "tools", dir+"/none", dir+"/t*l") }, program, true},
		{"a file that is missing", func(t testing.TB) string { return need.File(t, "tools", "/none/*", dir+"/none") }, "/none/* is missing: apt-get install tools", false},
		{"an ability", func(t testing.TB) string { need.Missing(t, "no %s here", "wings"); return "" }, "no wings here", false},
	} {
		for ci, how := range map[string]string{"true": "fails: ", "": "is skipped: ", "1": "is skipped: ", "false": "is skipped: "} {
			t.Run(tt.name+", CI="+ci, func(t *testing.T) {
				t.Setenv("CI", ci)
				var got string
				end := end(t, func(t testing.TB) { got = tt.test(t) })
				switch {
				case tt.ok && (end != "" || got != tt.want):
					t.Errorf("%q, and the test %s; want %q", got, end, tt.want)
				case !tt.ok && end != how+tt.want:
					t.Errorf("the test %q, want %q", end, how+tt.want)
				}
			})
		}
	}
}

func TestRoot(t *testing.T) {
	t.Setenv("CI", "true")
	got := end(t, func(t testing.TB) { need.Root(t, "give a file away") })
	if root := os.Geteuid() == 0; root != (got == "") || !root && !strings.Contains(got, "fails: only root can give a file away") {
		t.Errorf("as user %d the test %q", os.Geteuid(), got)
	}
}
