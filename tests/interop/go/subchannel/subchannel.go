// Package subchannel is what the host and the plugin have in common: KV
// services under ids of the broker, and calls to those of the other side.
package subchannel

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/proto"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Broker serves KV stores under ids, until it is told to stop.
type Broker struct {
	*plugin.GRPCBroker

	guard   sync.Mutex
	servers map[uint32]*served
}

type served struct {
	server *grpc.Server
	store  *store
	ended  chan struct{}
}

// New wraps go-plugin's broker.
func New(broker *plugin.GRPCBroker) *Broker {
	return &Broker{GRPCBroker: broker, servers: map[uint32]*served{}}
}

// Accept serves a store of its own under an id, which it has announced when it
// returns.
func (b *Broker) Accept(id uint32) error {
	started := make(chan *grpc.Server, 1)
	kv := newStore()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(math.MaxInt32))...)
			proto.RegisterKVServer(server, &shared.GRPCServer{Impl: kv})
			started <- server
			return server
		})
	}()

	select {
	case server := <-started:
		b.guard.Lock()
		defer b.guard.Unlock()
		b.servers[id] = &served{server, kv, ended}
		return nil
	case <-ended:
		return fmt.Errorf("broker id %d could not be served", id)
	}
}

// Store is what is served under an id, nil if nothing is.
func (b *Broker) Store(id uint32) shared.KV {
	b.guard.Lock()
	defer b.guard.Unlock()
	if found, ok := b.servers[id]; ok {
		return found.store
	}
	return nil
}

// Stop ends what is served under an id, and waits for its end.
func (b *Broker) Stop(id uint32) error {
	b.guard.Lock()
	found, ok := b.servers[id]
	delete(b.servers, id)
	b.guard.Unlock()
	if !ok {
		return fmt.Errorf("nothing is served under broker id %d", id)
	}
	found.server.Stop()
	<-found.ended
	return nil
}

// StopAll ends all that is served.
func (b *Broker) StopAll() {
	b.guard.Lock()
	ids := []uint32{}
	for id := range b.servers {
		ids = append(ids, id)
	}
	b.guard.Unlock()
	for _, id := range ids {
		_ = b.Stop(id)
	}
}

// KV is a store that the other side serves.
type KV struct {
	shared.KV
	conn *grpc.ClientConn
}

// Close ends the connection.
func (kv *KV) Close() error { return kv.conn.Close() }

// DialKV connects to the store that the other side serves under an id.
func (b *Broker) DialKV(id uint32) (*KV, error) {
	conn, err := b.Dial(id)
	if err != nil {
		return nil, err
	}
	raw, err := (&shared.KVGRPCPlugin{}).GRPCClient(context.Background(), nil, conn)
	if err != nil {
		return nil, err
	}
	return &KV{raw.(shared.KV), conn}, nil
}

// Numbered gives lines of a letter and six digits, cut at count bytes: no
// piece of it is like another.
func Numbered(letter byte, count int) []byte {
	var text strings.Builder
	for n := 0; text.Len() < count; n++ {
		fmt.Fprintf(&text, "%c%06d\n", letter, n)
	}
	return []byte(text.String()[:count])
}

// store is a KV in memory. Keys of the form numbered:COUNT are in it already.
type store struct {
	guard  sync.Mutex
	values map[string][]byte
}

func newStore() *store {
	return &store{values: map[string][]byte{}}
}

func (s *store) Put(key string, value []byte) error {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.values[key] = slices.Clone(value)
	return nil
}

func (s *store) Get(key string) ([]byte, error) {
	if text, ok := strings.CutPrefix(key, "numbered:"); ok {
		count, err := strconv.Atoi(text)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		return Numbered('n', count), nil
	}
	s.guard.Lock()
	defer s.guard.Unlock()
	value, ok := s.values[key]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no key %q", key)
	}
	return value, nil
}
