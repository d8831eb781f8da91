package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"pyplugin.test/benches/bench"
)

const (
	// idleTime is how long calls are measured with nothing else going on.
	idleTime = 1500 * time.Millisecond
	// pause is between two calls.
	pause = 2 * time.Millisecond
)

func (h *host) measure(t task) (bench.Result, error) {
	switch t.Measure {
	case "rate":
		return h.rate(t.Lines)
	case "latency":
		return h.latency(t.Lines)
	case "storm":
		return h.storm(t.Lines)
	}
	return nil, fmt.Errorf("no measure is called %q", t.Measure)
}

func (h *host) rate(lines int) (bench.Result, error) {
	before := h.sink.seen()
	begin := bench.Now()
	if err := h.write(lines); err != nil {
		return nil, err
	}
	<-h.sink.done
	end := h.sink.end
	peak, err := peakBytes()
	return bench.Result{
		"seconds":     end.Wall.Sub(begin.Wall).Seconds(),
		"cpu_seconds": (end.CPU - begin.CPU).Seconds(),
		"peak_bytes":  peak,
		"seen":        h.sink.seen() - before - len(h.clients),
	}, err
}

func (h *host) latency(lines int) (bench.Result, error) {
	if err := h.write(lines); err != nil {
		return nil, err
	}
	<-h.sink.done
	h.sink.guard.Lock()
	defer h.sink.guard.Unlock()
	return bench.Percentiles(h.sink.late), nil
}

func (h *host) storm(lines int) (bench.Result, error) {
	quiet := make(chan struct{})
	time.AfterFunc(idleTime, func() { close(quiet) })
	idle, err := h.callTimes(quiet)
	if err != nil {
		return nil, err
	}

	over := make(chan struct{})
	written := make(chan error, 1)
	go func() {
		defer close(over)
		written <- h.write(lines)
	}()
	storm, err := h.callTimes(over)
	if err != nil {
		return nil, err
	}
	return bench.Result{
		"idle":  bench.Result{"call": bench.Percentiles(idle)},
		"storm": bench.Result{"call": bench.Percentiles(storm)},
	}, <-written
}

// callTimes calls one plugin after the other until stopped.
func (h *host) callTimes(stop <-chan struct{}) ([]int64, error) {
	var times []int64
	for n := 0; ; n++ {
		select {
		case <-stop:
			return times, nil
		case <-time.After(pause):
		}
		begin := time.Now()
		if _, err := h.stores[n%len(h.stores)].Get("now"); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin).Nanoseconds())
	}
}

// peakBytes is the most memory since the start of the program; getrusage tells
// of the process it was forked from too.
func peakBytes() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	kibibytes, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	peak, err := strconv.Atoi(string(kibibytes))
	return peak * 1024, err
}
