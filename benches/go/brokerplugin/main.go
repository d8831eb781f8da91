// Command brokerplugin is a KV plugin that uses the broker, and prints, when a
// key asks for it; benches/broker/plugin.py is the same in Python:
//
//	now          nothing
//	bytes:BYTES  answers with so many
//	cpu          answers how many seconds of the processors this process has used
//	dial:ID      makes a call to what the host serves under an id
//	accept       serves a new id, which is the answer
//	stop:ID      ends that
//	blocks:BYTES writes to stdout, in blocks
//	lines:BYTES  prints to stdout, in lines
//
// A method of its own answers with a stream of messages.
package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/proto"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"

	"pyplugin.test/benches/bench"
	"pyplugin.test/benches/subchannel"
)

const (
	blockBytes = 64 * 1024
	lineBytes  = 100
)

func main() {
	go bench.EndWithHost(os.Stderr)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: shared.Handshake,
		Plugins: plugin.PluginSet{
			shared.PluginGRPC: brokered{&shared.KVGRPCPlugin{}},
		},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			// As those of hosts, larger than gRPC's own limit.
			return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(math.MaxInt32))...)
		},
		Logger: hclog.NewNullLogger(),
	})
}

// brokered gives the store the broker.
type brokered struct{ *shared.KVGRPCPlugin }

var _ plugin.GRPCPlugin = brokered{}

func (brokered) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	proto.RegisterKVServer(server, &shared.GRPCServer{Impl: &store{broker: broker}})
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Stream",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			{StreamName: "Values", Handler: streamValues, ServerStreams: true},
		},
	}, nil)
	return nil
}

// streamValues answers with as many messages as the key says.
func streamValues(_ any, stream grpc.ServerStream) error {
	var request proto.GetRequest
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	count, err := strconv.Atoi(request.Key)
	if err != nil {
		return err
	}
	value := make([]byte, lineBytes)
	for range count {
		if err := stream.SendMsg(&proto.GetResponse{Value: value}); err != nil {
			return err
		}
	}
	return nil
}

// store does what its keys ask for.
type store struct {
	broker *plugin.GRPCBroker
	// served has a *subchannel.Server for each id.
	served sync.Map
	// values has those of each length that was asked for.
	values sync.Map
}

func (*store) Put(string, []byte) error { return nil }

func (s *store) Get(key string) ([]byte, error) {
	name, argument, _ := strings.Cut(key, ":")
	switch name {
	case "now":
		return nil, nil
	case "cpu":
		return strconv.AppendFloat(nil, bench.Now().CPU.Seconds(), 'f', 6, 64), nil
	case "accept":
		id := s.broker.NextId()
		server, err := subchannel.Serve(s.broker, id)
		if err != nil {
			return nil, err
		}
		s.served.Store(id, server)
		return strconv.AppendUint(nil, uint64(id), 10), nil
	}

	number, err := strconv.ParseUint(argument, 10, 32)
	if err != nil {
		return nil, err
	}
	switch name {
	case "bytes":
		return s.value(int(number)), nil
	case "dial":
		return nil, subchannel.Call(s.broker, uint32(number))
	case "stop":
		server, ok := s.served.LoadAndDelete(uint32(number))
		if !ok {
			return nil, fmt.Errorf("nothing is served under broker id %d", number)
		}
		server.(*subchannel.Server).Stop()
		return nil, nil
	case "blocks":
		return nil, writeBlocks(int(number))
	case "lines":
		return nil, printLines(int(number))
	}
	return nil, fmt.Errorf("no key %q", key)
}

func (s *store) value(length int) []byte {
	value, ok := s.values.Load(length)
	if !ok {
		value, _ = s.values.LoadOrStore(length, make([]byte, length))
	}
	return value.([]byte)
}

func writeBlocks(left int) error {
	block := bytes.Repeat([]byte("x"), blockBytes)
	for left > 0 {
		written, err := os.Stdout.Write(block[:min(left, blockBytes)])
		if err != nil {
			return err
		}
		left -= written
	}
	return nil
}

func printLines(left int) error {
	line := strings.Repeat("x", lineBytes-1)
	for ; left > 0; left -= lineBytes {
		if _, err := fmt.Println(line); err != nil {
			return err
		}
	}
	return nil
}
