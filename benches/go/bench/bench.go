// Package bench is what the measured programs have in common.
package bench

import (
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what a host measured, by its names in Python.
type Result map[string]any

// Reading is the time, and what this process has used of the processors.
type Reading struct {
	Wall time.Time
	CPU  time.Duration
}

// Now takes a reading.
func Now() Reading {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return Reading{time.Now(), time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}
}

// Percentiles sorts times and sums them up.
func Percentiles(nanoseconds []int64) Result {
	slices.Sort(nanoseconds)
	at := func(share float64) float64 {
		return float64(nanoseconds[int(share*float64(len(nanoseconds)-1))]) / 1000
	}
	return Result{"p50_us": at(0.5), "p99_us": at(0.99), "count": len(nanoseconds)}
}

// EndWithHost ends the process when nobody is left to read its stderr: a host
// that had to be killed leaves no plugin behind. Serving puts a pipe in
// os.Stderr's place, so it gets the process's own.
func EndWithHost(stderr *os.File) {
	wanted := []unix.PollFd{{Fd: int32(stderr.Fd())}}
	for {
		if _, err := unix.Poll(wanted, -1); err == nil && wanted[0].Revents != 0 {
			os.Exit(0)
		}
	}
}
