package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"

	"pyplugin.test/benches/bench"
	"pyplugin.test/benches/subchannel"
)

type host struct {
	kv      shared.KV
	broker  *plugin.GRPCBroker
	printed *counter
}

func (h *host) measure(t task) (bench.Result, error) {
	switch t.Measure {
	case "call":
		return h.repeat(t, h.call)
	case "host serves":
		return h.repeat(t, h.serve)
	case "plugin serves":
		return h.repeat(t, h.dial)
	case "blocks", "lines":
		return h.print(t)
	}
	return nil, fmt.Errorf("no measure is called %q", t.Measure)
}

func (h *host) call() error {
	_, err := h.kv.Get("now")
	return err
}

// serve has the plugin call back under an id.
func (h *host) serve() error {
	id := h.broker.NextId()
	server := subchannel.Serve(h.broker, id)
	_, err := h.kv.Get(fmt.Sprintf("dial:%d", id))
	return errors.Join(err, server.Stop())
}

// dial calls what the plugin serves under an id.
func (h *host) dial() error {
	text, err := h.kv.Get("accept")
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil {
		return err
	}
	if err := subchannel.Call(h.broker, uint32(id)); err != nil {
		return err
	}
	_, err = h.kv.Get("stop:" + string(text))
	return err
}

// repeat does something in turn, and then as often as it can with many in
// flight.
func (h *host) repeat(t task, do func() error) (bench.Result, error) {
	if _, err := timesOf(t.Warm, do); err != nil {
		return nil, err
	}
	times, err := timesOf(t.InTurn, do)
	if err != nil {
		return nil, err
	}
	got, err := h.costs(func() (bench.Reading, error) {
		err := atOnce(t.AtOnce, t.InFlight, do)
		return bench.Now(), err
	})
	if err != nil {
		return nil, err
	}
	for name, value := range bench.Percentiles(times) {
		got[name] = value
	}
	return got, nil
}

// print has the plugin print, until the last byte has come.
func (h *host) print(t task) (bench.Result, error) {
	return h.costs(func() (bench.Reading, error) {
		if _, err := h.kv.Get(fmt.Sprintf("%s:%d", t.Measure, t.Bytes)); err != nil {
			return bench.Reading{}, err
		}
		<-h.printed.done
		return h.printed.end, nil
	})
}

// costs gives the time that something takes, and what both processes use of
// the processors meanwhile.
func (h *host) costs(do func() (bench.Reading, error)) (bench.Result, error) {
	pluginBegin, err := h.pluginCPU()
	if err != nil {
		return nil, err
	}
	begin := bench.Now()
	end, err := do()
	if err != nil {
		return nil, err
	}
	pluginEnd, err := h.pluginCPU()
	return bench.Result{
		"seconds":        end.Wall.Sub(begin.Wall).Seconds(),
		"host_seconds":   (end.CPU - begin.CPU).Seconds(),
		"plugin_seconds": pluginEnd - pluginBegin,
	}, err
}

// pluginCPU is what the plugin has used of the processors, in seconds.
func (h *host) pluginCPU() (float64, error) {
	text, err := h.kv.Get("cpu")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(string(text), 64)
}

func timesOf(count int, do func() error) ([]int64, error) {
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

// atOnce does something count times, by so many workers.
func atOnce(count, workers int, do func() error) error {
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

// counter is where the plugin's output goes.
type counter struct {
	// done is closed when nothing is left to come, which end is the time of.
	done chan struct{}
	left int
	end  bench.Reading
}

func newCounter(expected int) *counter {
	return &counter{done: make(chan struct{}), left: expected}
}

func (c *counter) Write(data []byte) (int, error) {
	c.left -= len(data)
	if c.left == 0 {
		c.end = bench.Now()
		close(c.done)
	}
	return len(data), nil
}
