package bench

import (
	"errors"
	"sync/atomic"
	"time"
)

// InTurn does something count times, and gives the nanoseconds of each.
func InTurn(count int, do func() error) ([]int64, error) {
	times := make([]int64, 0, count)
	for range count {
		begin := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin).Nanoseconds())
	}
	return times, nil
}

// AtOnce does something count times, by so many workers.
func AtOnce(count, workers int, do func() error) error {
	var begun atomic.Int64
	ends := make(chan error, workers)
	for range workers {
		go func() {
			for begun.Add(1) <= int64(count) {
				if err := do(); err != nil {
					ends <- err
					return
				}
			}
			ends <- nil
		}()
	}
	var errs []error
	for range workers {
		errs = append(errs, <-ends)
	}
	return errors.Join(errs...)
}
