package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// idleTime is how long calls are measured with nothing else going on.
	idleTime = 1500 * time.Millisecond
	// pause is between two calls.
	pause = 2 * time.Millisecond
)

type result map[string]any

// reading is the time, and what this process has used of the processors.
type reading struct {
	wall time.Time
	cpu  time.Duration
}

func now() reading {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return reading{time.Now(), time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}
}

func (h *host) measure(t task) (result, error) {
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

func (h *host) rate(lines int) (result, error) {
	before := h.sink.seen()
	begin := now()
	if err := h.write(lines); err != nil {
		return nil, err
	}
	<-h.sink.done
	end := h.sink.end
	peak, err := peakBytes()
	return result{
		"seconds":     end.wall.Sub(begin.wall).Seconds(),
		"cpu_seconds": (end.cpu - begin.cpu).Seconds(),
		"peak_bytes":  peak,
		"seen":        h.sink.seen() - before - len(h.clients),
	}, err
}

func (h *host) latency(lines int) (result, error) {
	if err := h.write(lines); err != nil {
		return nil, err
	}
	<-h.sink.done
	h.sink.guard.Lock()
	defer h.sink.guard.Unlock()
	return percentiles(h.sink.late), nil
}

func (h *host) storm(lines int) (result, error) {
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
	return result{
		"idle":  result{"call": percentiles(idle)},
		"storm": result{"call": percentiles(storm)},
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

func percentiles(nanoseconds []int64) result {
	slices.Sort(nanoseconds)
	at := func(share float64) float64 {
		return float64(nanoseconds[int(share*float64(len(nanoseconds)-1))]) / 1000
	}
	return result{"p50_us": at(0.5), "p99_us": at(0.99), "count": len(nanoseconds)}
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
