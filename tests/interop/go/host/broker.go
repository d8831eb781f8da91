package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"

	"pyplugin.test/interop/subchannel"
)

// brokered gives the broker along with the KV.
type brokered struct{ *shared.KVGRPCPlugin }

type brokeredKV struct {
	shared.KV
	broker *subchannel.Broker
}

var _ plugin.GRPCPlugin = brokered{}

func (b brokered) GRPCClient(
	ctx context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn,
) (any, error) {
	raw, err := b.KVGRPCPlugin.GRPCClient(ctx, broker, conn)
	if err != nil {
		return nil, err
	}
	return brokeredKV{raw.(shared.KV), subchannel.New(broker)}, nil
}

// at is the plugin's own KV, or the one dialled under an id.
func (h *host) at(id uint32) (shared.KV, error) {
	if id == 0 {
		return h.kv, nil
	}
	kv, ok := h.dialled[id]
	if !ok {
		return nil, fmt.Errorf("broker id %d was not dialled", id)
	}
	return kv, nil
}

func (h *host) put(id uint32, key string, value []byte) error {
	kv, err := h.at(id)
	if err != nil {
		return err
	}
	return kv.Put(key, value)
}

func (h *host) get(id uint32, key string) (answer, error) {
	kv, err := h.at(id)
	if err != nil {
		return nil, err
	}
	value, err := kv.Get(key)
	return answer{"value": append([]byte{}, value...)}, err
}

// served gets a key of what this host serves under an id.
func (h *host) served(id uint32, key string) (answer, error) {
	kv := h.broker.Store(id)
	if kv == nil {
		return nil, fmt.Errorf("nothing is served under broker id %d", id)
	}
	value, err := kv.Get(key)
	return answer{"value": append([]byte{}, value...)}, err
}

// accept serves an id, a new one unless it is given, while it gets a key from
// the plugin: one that makes the plugin dial.
func (h *host) accept(id uint32, key string) (answer, error) {
	if id == 0 {
		id = h.broker.NextId()
	}
	value := h.meanwhile(key)
	if err := h.broker.Accept(id); err != nil {
		return nil, err
	}
	got, err := value()
	return answer{"id": id, "value": got}, err
}

// dial connects to an id, while it gets a key from the plugin: one that makes
// the plugin serve.
func (h *host) dial(id uint32, key string) (answer, error) {
	dialled := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		close(begun)
		kv, err := h.broker.DialKV(id)
		if err == nil {
			h.dialled[id] = kv
		}
		dialled <- err
	}()
	<-begun
	_, err := h.meanwhile(key)()
	if err := <-dialled; err != nil {
		return nil, err
	}
	return nil, err
}

func (h *host) hangUp(id uint32) error {
	kv, ok := h.dialled[id]
	if !ok {
		return fmt.Errorf("broker id %d was not dialled", id)
	}
	delete(h.dialled, id)
	return kv.Close()
}

// meanwhile begins to get a key, unless it is empty, and gives what waits for
// the value.
func (h *host) meanwhile(key string) func() ([]byte, error) {
	if key == "" {
		return func() ([]byte, error) { return []byte{}, nil }
	}
	var (
		value []byte
		err   error
	)
	got := make(chan struct{})
	go func() {
		defer close(got)
		value, err = h.kv.Get(key)
	}()
	return func() ([]byte, error) {
		<-got
		return value, err
	}
}

// rounds has the plugin dial what the host serves, and the other way round,
// count times each: in a row, or all at once.
func (h *host) rounds(count int, atOnce bool) (answer, error) {
	var (
		guard   sync.Mutex
		running sync.WaitGroup
		good    = map[string]int{}
		first   string
	)
	do := func(name string, round func(string) error) {
		for n := range count {
			one := func() {
				defer running.Done()
				err := round(strconv.Itoa(n))
				guard.Lock()
				defer guard.Unlock()
				if err == nil {
					good[name]++
				} else if first == "" {
					first = fmt.Sprintf("%s %d: %v", name, n, err)
				}
			}
			running.Add(1)
			if atOnce {
				go one()
			} else {
				one()
			}
		}
	}
	do("there", h.there)
	do("back", h.back)
	running.Wait()
	return answer{"there": good["there"], "back": good["back"], "error": first}, nil
}

func (h *host) there(value string) error {
	id := h.broker.NextId()
	if err := h.broker.Accept(id); err != nil {
		return err
	}
	if err := h.kv.Put(fmt.Sprintf("dial:%d:k", id), []byte(value)); err != nil {
		return err
	}
	if err := expect(h.broker.Store(id), value); err != nil {
		return err
	}
	return h.broker.Stop(id)
}

func (h *host) back(value string) error {
	text, err := h.kv.Get("accept")
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil {
		return err
	}
	kv, err := h.broker.DialKV(uint32(id))
	if err != nil {
		return err
	}
	if err := kv.Put("k", []byte(value)); err != nil {
		return err
	}
	if err := expect(kv, value); err != nil {
		return err
	}
	if err := kv.Close(); err != nil {
		return err
	}
	_, err = h.kv.Get("stop:" + string(text))
	return err
}

func expect(kv shared.KV, value string) error {
	got, err := kv.Get("k")
	if err == nil && string(got) != value {
		err = fmt.Errorf("the value is %q, not %q", got, value)
	}
	return err
}
