package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/rpc"
)

// metrics counts calls. It is written as text for Prometheus by a few lines of
// our own: the package for it, and net/http, would make the program a third
// larger.
type metrics struct {
	connections func() int

	mu      sync.Mutex
	calls   map[callCode]uint64
	latency map[string]*histogram
}

type callCode struct{ call, code string }

// buckets are the upper bounds of the latencies, in seconds: from a call that
// only looks something up to an RSA key made by a chip.
var buckets = [...]float64{0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60}

type histogram struct {
	count  uint64
	sum    float64
	within [len(buckets)]uint64
}

func (m *metrics) init() {
	m.calls = map[callCode]uint64{}
	m.latency = map[string]*histogram{}
	m.connections = func() int { return 0 }
}

func (m *metrics) count(c rpc.Call) {
	code := "CKR_OK"
	if c.Code != 0 {
		code = c.Code.Error()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// A client may call what there is, and get the codes that there are.
	m.calls[callCode{c.Name, code}]++
	h := m.latency[c.Name]
	if h == nil {
		h = &histogram{}
		m.latency[c.Name] = h
	}
	h.count++
	s := c.Duration.Seconds()
	h.sum += s
	for i, le := range buckets {
		if s <= le {
			h.within[i]++
		}
	}
}

// write writes what there is in Prometheus' text format.
func (d *Daemon) writeMetrics(w io.Writer) {
	m := &d.metrics
	fmt.Fprintf(w, "# HELP cryptoki_connections Clients that are connected.\n# TYPE cryptoki_connections gauge\ncryptoki_connections %d\n", m.connections())

	m.mu.Lock()
	var keys []callCode
	for k := range m.calls {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b callCode) int {
		if c := strings.Compare(a.call, b.call); c != 0 {
			return c
		}
		return strings.Compare(a.code, b.code)
	})
	fmt.Fprint(w, "# HELP cryptoki_calls_total Calls that ended, by their code.\n# TYPE cryptoki_calls_total counter\n")
	for _, k := range keys {
		fmt.Fprintf(w, "cryptoki_calls_total{call=%q,code=%q} %d\n", k.call, k.code, m.calls[k])
	}
	var names []string
	for name := range m.latency {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprint(w, "# HELP cryptoki_call_duration_seconds How long calls took, waiting for the device included.\n# TYPE cryptoki_call_duration_seconds histogram\n")
	for _, name := range names {
		h := m.latency[name]
		for i, le := range buckets {
			fmt.Fprintf(w, "cryptoki_call_duration_seconds_bucket{call=%q,le=\"%g\"} %d\n", name, le, h.within[i])
		}
		fmt.Fprintf(w, "cryptoki_call_duration_seconds_bucket{call=%q,le=\"+Inf\"} %d\n", name, h.count)
		fmt.Fprintf(w, "cryptoki_call_duration_seconds_sum{call=%q} %g\n", name, h.sum)
		fmt.Fprintf(w, "cryptoki_call_duration_seconds_count{call=%q} %d\n", name, h.count)
	}
	m.mu.Unlock()

	d.mu.Lock()
	tokens := slices.Clone(d.tokens)
	d.mu.Unlock()
	fmt.Fprint(w, "# HELP cryptoki_queue Calls that wait for the token's device.\n# TYPE cryptoki_queue gauge\n")
	for i, s := range tokens {
		if s.module != nil {
			fmt.Fprintf(w, "cryptoki_queue{slot=\"%d\",token=\"%s\"} %d\n", i+1, escape(s.token.Info().Label), cryptoki.Waiting(s.module))
		}
	}
	fmt.Fprint(w, "# HELP cryptoki_device_resets_total How often the token's device was lost and reached again.\n# TYPE cryptoki_device_resets_total counter\n")
	for i, s := range tokens {
		if r, ok := s.token.(driver.Resetter); ok {
			fmt.Fprintf(w, "cryptoki_device_resets_total{slot=\"%d\",token=\"%s\"} %d\n", i+1, escape(s.token.Info().Label), r.Resets())
		}
	}
}

// escape makes text the value of a Prometheus label, which may be any UTF-8 and knows
// three escapes only. What is in the token is up to who initialized it.
func escape(s string) string {
	return strings.NewReplacer("\\", `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\ufffd"))
}

// serveMetrics answers GET /metrics, and nothing else.
func (d *Daemon) serveMetrics(l net.Listener) {
	busy := make(chan struct{}, 4)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case busy <- struct{}{}:
			go func() {
				d.answerHTTP(c)
				<-busy
			}()
		default:
			c.Close()
		}
	}
}

func (d *Daemon) answerHTTP(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(io.LimitReader(c, 8<<10))
	line, err := r.ReadString('\n')
	if err != nil {
		return
	}
	for { // the rest of the head, so that the client is not reset
		h, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(h) == "" {
			break
		}
	}
	status, body := "404 Not Found", "the metrics are at /metrics\n"
	if f := strings.Fields(line); len(f) == 3 && f[0] == "GET" && f[1] == "/metrics" {
		var b strings.Builder
		d.writeMetrics(&b)
		status, body = "200 OK", b.String()
	}
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
}
