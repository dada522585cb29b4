package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"chatter of a test that passes\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad/case","Output":"    got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestBad/case"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestTool","Output":"=== RUN   TestTool\n"}
{"Action":"output","Package":"p","Test":"TestTool","Output":"    tool_test.go:7: no mosquitto\n"}
{"Action":"output","Package":"p","Test":"TestTool","Output":"--- SKIP: TestTool (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestTool"}
{"Action":"output","Package":"p","Test":"TestHang","Output":"waiting\n"}
{"Action":"output","Package":"p","Test":"TestLast","Output":"chatter of another\n"}
{"Action":"output","Package":"p","Test":"TestLast","Output":"panic: test timed out after 6m0s\n"}
{"Action":"output","Package":"p","Test":"TestLast","Output":"goroutine 1 [running]:\n"}
{"Action":"pass","Package":"p","Test":"TestLast"}
{"Action":"output","Package":"p","Output":"goroutine 2 [select, 6 minutes]:\n"}
{"Action":"output","Package":"p","Test":"TestHang","Output":"goroutine 3 [IO wait, 6 minutes]:\n"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined: x\n"}
{"ImportPath":"q","Action":"build-fail"}
{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}
{"Action":"fail","Package":"q","FailedBuild":"q"}
{"Action":"output","Package":"r","Test":"TestOfACrash","Output":"panic: of a child\n"}
{"Action":"output","Package":"r","Test":"TestOfACrash","Output":"noticed\n"}
{"Action":"pass","Package":"r","Test":"TestOfACrash"}
{"Action":"pass","Package":"r"}
`
	var out strings.Builder
	got := report(&out, strings.NewReader(events))
	if want := (counts{passed: 3, failed: 4, skipped: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	const want = `    got 1, want 2
waiting
panic: test timed out after 6m0s
goroutine 1 [running]:
goroutine 2 [select, 6 minutes]:
goroutine 3 [IO wait, 6 minutes]:
FAIL
FAIL	p	0.1s
    1 skipped: no mosquitto
q.go:1: undefined: x
FAIL	q [build failed]
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}
