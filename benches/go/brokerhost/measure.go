package main

import (
	"fmt"

	"pyplugin.test/benches/bench"
	"pyplugin.test/benches/brokered"
)

type host struct {
	*brokered.Host
	printed *counter
}

func (h *host) measure(t task) (bench.Result, error) {
	switch t.Measure {
	case "call":
		return h.repeat(t, h.Call)
	case "host serves":
		return h.repeat(t, h.Serve)
	case "plugin serves":
		return h.repeat(t, h.Dial)
	case "get":
		return h.repeat(t, h.Getter(t.Bytes))
	case "put":
		return h.repeat(t, h.Putter(t.Bytes))
	case "stream":
		return h.repeat(t, func() error { return h.Stream(t.Messages) })
	case "blocks", "lines":
		return h.print(t)
	}
	return nil, fmt.Errorf("no measure is called %q", t.Measure)
}

// repeat does something in turn, and then as often as it can with many in
// flight.
func (h *host) repeat(t task, do func() error) (bench.Result, error) {
	if _, err := bench.InTurn(t.Warm, do); err != nil {
		return nil, err
	}
	times, err := bench.InTurn(t.InTurn, do)
	if err != nil {
		return nil, err
	}
	got, err := h.costs(func() (bench.Reading, error) {
		err := bench.AtOnce(t.AtOnce, t.InFlight, do)
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
		if _, err := h.KV.Get(fmt.Sprintf("%s:%d", t.Measure, t.Bytes)); err != nil {
			return bench.Reading{}, err
		}
		<-h.printed.done
		return h.printed.end, nil
	})
}

// costs gives the time that something takes, and what both processes use of
// the processors meanwhile.
func (h *host) costs(do func() (bench.Reading, error)) (bench.Result, error) {
	pluginBegin, err := h.PluginCPU()
	if err != nil {
		return nil, err
	}
	begin := bench.Now()
	end, err := do()
	if err != nil {
		return nil, err
	}
	pluginEnd, err := h.PluginCPU()
	return bench.Result{
		"seconds":        end.Wall.Sub(begin.Wall).Seconds(),
		"host_seconds":   (end.CPU - begin.CPU).Seconds(),
		"plugin_seconds": pluginEnd - pluginBegin,
	}, err
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
