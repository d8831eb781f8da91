package main

import (
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/proto"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pyplugin.test/interop/subchannel"
)

// brokered hands the broker to the store it serves.
type brokered struct {
	*shared.KVGRPCPlugin
	store *store
}

var _ plugin.GRPCPlugin = brokered{}

func (b brokered) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	b.store.broker = subchannel.New(broker)
	proto.RegisterKVServer(server, &shared.GRPCServer{Impl: b.store})
	return nil
}

// onBroker does what a key asks of the broker:
//
//	accept           serves a new id, which is the answer
//	serve:ID         serves an id that the host chose
//	stop:ID          ends that
//	dial:ID:KEY      gets a key of what the host serves under an id
//	send:ID:KEY:N    puts N bytes there
func (s *store) onBroker(name, argument string) ([]byte, error) {
	if name == "accept" {
		id := s.broker.NextId()
		return []byte(strconv.Itoa(int(id))), s.broker.Accept(id)
	}
	text, rest, _ := strings.Cut(argument, ":")
	id, err := brokerID(text)
	if err != nil {
		return nil, err
	}
	switch name {
	case "serve":
		return []byte(text), s.broker.Accept(id)
	case "stop":
		return []byte(text), s.broker.Stop(id)
	}

	kv, err := s.broker.DialKV(id)
	if err != nil {
		return nil, err
	}
	defer kv.Close()
	if name == "dial" {
		return kv.Get(rest)
	}
	key, text, _ := strings.Cut(rest, ":")
	count, err := strconv.Atoi(text)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return []byte(text), kv.Put(key, subchannel.Numbered('n', count))
}

// putThere puts a value under a key of the form ID:KEY.
func (s *store) putThere(argument string, value []byte) error {
	text, key, _ := strings.Cut(argument, ":")
	id, err := brokerID(text)
	if err != nil {
		return err
	}
	kv, err := s.broker.DialKV(id)
	if err != nil {
		return err
	}
	defer kv.Close()
	return kv.Put(key, value)
}

func brokerID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, status.Error(codes.InvalidArgument, err.Error())
	}
	return uint32(id), nil
}
