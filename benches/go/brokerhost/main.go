// Command brokerhost is go-plugin's host of a brokerplugin: what calls cost, to
// open connections by the broker, and to take what the plugin prints. It prints
// what it measured as JSON; benches/broker/host.py has the same in Python.
//
//	brokerhost '{"measure": "call", "command": ["brokerplugin"], ...}'
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

	"pyplugin.test/benches/brokered"
)

// task is what to measure; benches/broker/task.py has the meanings.
type task struct {
	Measure  string   `json:"measure"`
	Command  []string `json:"command"`
	AutoMTLS bool     `json:"auto_mtls"`
	Warm     int      `json:"warm"`
	InTurn   int      `json:"in_turn"`
	AtOnce   int      `json:"at_once"`
	InFlight int      `json:"in_flight"`
	Bytes    int      `json:"bytes"`
	Seconds  float64  `json:"seconds"`
	Mux      bool     `json:"multiplex"`
	Messages int      `json:"messages"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "brokerhost:", err)
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
	printed := newCounter(t.Bytes)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  shared.Handshake,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Plugins:          plugin.PluginSet{shared.PluginGRPC: brokered.New()},
		Cmd:              exec.Command(t.Command[0], t.Command[1:]...),
		AutoMTLS:         t.AutoMTLS,

		GRPCBrokerMultiplex: t.Mux,

		Logger:     hclog.NewNullLogger(),
		SyncStdout: printed,
	})
	defer client.Kill()
	late := time.AfterFunc(time.Duration(t.Seconds*float64(time.Second)), func() {
		client.Kill()
		fmt.Fprintln(os.Stderr, "TimeoutError")
		os.Exit(1)
	})
	defer late.Stop()

	protocol, err := client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense(shared.PluginGRPC)
	if err != nil {
		return err
	}
	h := &host{raw.(*brokered.Host), printed}
	got, err := h.measure(t)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}
