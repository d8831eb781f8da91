// Package monotonic reads the clock that all processes of a machine share.
package monotonic

import "golang.org/x/sys/unix"

// Nanoseconds is what Python calls time.monotonic_ns.
func Nanoseconds() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}
