// Command muxhost is go-plugin's host of two brokerplugins, one over a single
// multiplexed connection, the other without: what the same costs over both, by
// turns. It prints what it measured as JSON; benches/mux/host.py has the same
// in Python.
//
//	muxhost '{"measure": "call", "command": ["brokerplugin"], ...}'
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"

	"pyplugin.test/benches/bench"
	"pyplugin.test/benches/brokered"
)

// task is what to measure; benches/mux/task.py has the meanings.
type task struct {
	Measure  string   `json:"measure"`
	Command  []string `json:"command"`
	AutoMTLS bool     `json:"auto_mtls"`
	Warm     int      `json:"warm"`
	InTurn   int      `json:"in_turn"`
	AtOnce   int      `json:"at_once"`
	InFlight int      `json:"in_flight"`
	Bytes    int      `json:"bytes"`
	Turns    int      `json:"turns"`
	Seconds  float64  `json:"seconds"`
}

func main() {
	// Plugins are killed on the way out of run.
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "muxhost:", err)
		os.Exit(1)
	}
}

func run() error {
	var t task
	if len(os.Args) != 2 {
		return errors.New("give the task, and nothing else")
	}
	if err := json.Unmarshal([]byte(os.Args[1]), &t); err != nil {
		return err
	}
	plain, mux := newClient(t, false), newClient(t, true)
	defer plain.Kill()
	defer mux.Kill()
	late := time.AfterFunc(time.Duration(t.Seconds*float64(time.Second)), func() {
		plain.Kill()
		mux.Kill()
		fmt.Fprintln(os.Stderr, "TimeoutError")
		os.Exit(1)
	})
	defer late.Stop()

	var ways [2]*way
	for index, client := range []*plugin.Client{plain, mux} {
		var err error
		if ways[index], err = newWay(t, client); err != nil {
			return err
		}
	}
	for turn := range t.Turns {
		for index := range ways {
			// Neither is always the first.
			if err := ways[(index+turn)%2].measure(t); err != nil {
				return err
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]bench.Result{
		"plain": ways[0].result(), "mux": ways[1].result(),
	})
}

func newClient(t task, multiplex bool) *plugin.Client {
	return plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:     shared.Handshake,
		AllowedProtocols:    []plugin.Protocol{plugin.ProtocolGRPC},
		Plugins:             plugin.PluginSet{shared.PluginGRPC: brokered.New()},
		Cmd:                 exec.Command(t.Command[0], t.Command[1:]...),
		AutoMTLS:            t.AutoMTLS,
		GRPCBrokerMultiplex: multiplex,
		Logger:              hclog.NewNullLogger(),
	})
}
