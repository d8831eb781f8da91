package main

import (
	"fmt"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"

	"pyplugin.test/benches/bench"
	"pyplugin.test/benches/brokered"
)

// way is a plugin that is measured, with what it was until now.
type way struct {
	*brokered.Host
	do    func() error
	times []int64
	// seconds of what was done at once.
	seconds, host, plugin float64
}

func newWay(t task, client *plugin.Client) (*way, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense(shared.PluginGRPC)
	if err != nil {
		return nil, err
	}
	w := &way{Host: raw.(*brokered.Host)}
	if w.do, err = action(t, w.Host); err != nil {
		return nil, err
	}
	_, err = bench.InTurn(t.Warm, w.do)
	return w, err
}

func action(t task, h *brokered.Host) (func() error, error) {
	switch t.Measure {
	case "call":
		return h.Call, nil
	case "host serves":
		return h.Serve, nil
	case "plugin serves":
		return h.Dial, nil
	case "get":
		return h.Getter(t.Bytes), nil
	case "put":
		return h.Putter(t.Bytes), nil
	}
	return nil, fmt.Errorf("no measure is called %q", t.Measure)
}

// measure does its part of a turn.
func (w *way) measure(t task) error {
	times, err := bench.InTurn(t.InTurn, w.do)
	if err != nil {
		return err
	}
	w.times = append(w.times, times...)
	pluginBegin, err := w.PluginCPU()
	if err != nil {
		return err
	}
	begin := bench.Now()
	if err := bench.AtOnce(t.AtOnce, t.InFlight, w.do); err != nil {
		return err
	}
	end := bench.Now()
	pluginEnd, err := w.PluginCPU()
	w.seconds += end.Wall.Sub(begin.Wall).Seconds()
	w.host += (end.CPU - begin.CPU).Seconds()
	w.plugin += pluginEnd - pluginBegin
	return err
}

func (w *way) result() bench.Result {
	got := bench.Percentiles(w.times)
	got["seconds"] = w.seconds
	got["host_seconds"], got["plugin_seconds"] = w.host, w.plugin
	return got
}
