// Command logplugin is a KV plugin whose stderr is what hosts are measured by.
// To get the key "200000" makes it write that many lines and the last one, an
// error, as fast as its host takes them; it answers when its pipe is empty. Any
// other key is answered at once.
//
//	logplugin KIND
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"

	"pyplugin.test/benches/bench"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "logplugin:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("give the kind of lines, and nothing else")
	}
	write, err := writerOf(os.Args[1])
	if err != nil {
		return err
	}
	go bench.EndWithHost(realStderr)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: shared.Handshake,
		Plugins: plugin.PluginSet{
			shared.PluginGRPC: &shared.KVGRPCPlugin{Impl: store{write}},
		},
		GRPCServer: plugin.DefaultGRPCServer,
		// Its lines would be counted with the others.
		Logger: hclog.NewNullLogger(),
	})
	return nil
}

// store has no values.
type store struct {
	write func(count int) error
}

func (store) Put(string, []byte) error { return nil }

func (s store) Get(key string) ([]byte, error) {
	if count, err := strconv.Atoi(key); err == nil {
		return nil, s.write(count)
	}
	return nil, nil
}
