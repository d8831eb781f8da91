// Command loghost is go-plugin's host with a log of JSON that is thrown away:
// what it costs to take the log of one or more logplugins. It prints what it
// measured as JSON; benches/logs/host.py has the same in Python.
//
//	loghost '{"measure": "rate", "command": ["logplugin", "json"], ...}'
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
)

// task is what to measure. Lines are those of one plugin.
type task struct {
	Measure string   `json:"measure"`
	Command []string `json:"command"`
	Plugins int      `json:"plugins"`
	Lines   int      `json:"lines"`
	Level   string   `json:"level"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loghost:", err)
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
	h := &host{sink: newSink(t.Plugins)}
	defer h.kill()
	if err := h.start(t); err != nil {
		return err
	}
	got, err := h.measure(t)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

type host struct {
	sink    *sink
	clients []*plugin.Client
	stores  []shared.KV
}

func (h *host) start(t task) error {
	var output io.Writer = h.sink
	if t.Measure == "latency" {
		output = pacedSink{h.sink}
	}
	logger := hclog.New(&hclog.LoggerOptions{
		Name: "host", Level: hclog.LevelFromString(t.Level), Output: output, JSONFormat: true,
	})
	for range t.Plugins {
		client := plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig:  shared.Handshake,
			AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
			Plugins:          plugin.PluginSet{shared.PluginGRPC: &shared.KVGRPCPlugin{}},
			Cmd:              exec.Command(t.Command[0], t.Command[1:]...),
			Logger:           logger,
		})
		h.clients = append(h.clients, client)
		protocol, err := client.Client()
		if err != nil {
			return err
		}
		raw, err := protocol.Dispense(shared.PluginGRPC)
		if err != nil {
			return err
		}
		h.stores = append(h.stores, raw.(shared.KV))
	}
	return nil
}

func (h *host) kill() {
	h.each(func(n int) error {
		h.clients[n].Kill()
		return nil
	})
}

// write has every plugin write its lines and waits for their answers.
func (h *host) write(lines int) error {
	return h.each(func(n int) error {
		_, err := h.stores[n].Get(strconv.Itoa(lines))
		return err
	})
}

// each does something for all plugins at once.
func (h *host) each(do func(n int) error) error {
	errs := make([]error, len(h.clients))
	var running sync.WaitGroup
	for n := range h.clients {
		running.Add(1)
		go func() {
			defer running.Done()
			errs[n] = do(n)
		}()
	}
	running.Wait()
	return errors.Join(errs...)
}
