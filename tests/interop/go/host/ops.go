package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/proto"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"pyplugin.test/interop/subchannel"
)

const callTimeout = 10 * time.Second

type host struct {
	config   plugin.ClientConfig
	versions []int
	command  []string

	// All nil unless a plugin runs.
	client   *plugin.Client
	protocol plugin.ClientProtocol
	conn     *grpc.ClientConn
	kv       shared.KV
	broker   *subchannel.Broker
	dialled  map[uint32]*subchannel.KV

	stdout, stderr output
}

type operation struct {
	Op      string `json:"op"`
	Key     string `json:"key"`
	Value   []byte `json:"value"`
	Service string `json:"service"`
	Method  string `json:"method"`
	Version string `json:"version"`
	Millis  int    `json:"millis"`
	Calls   int    `json:"calls"`
	ID      uint32 `json:"id"`
	AtOnce  bool   `json:"at_once"`
	Stdout  int    `json:"stdout"`
	Stderr  int    `json:"stderr"`
}

type answer map[string]any

func (h *host) answerTo(line []byte) answer {
	var op operation
	err := json.Unmarshal(line, &op)
	if err != nil {
		return failure(err)
	}
	got, err := h.do(op)
	if err != nil {
		return failure(err)
	}
	if got == nil {
		got = answer{}
	}
	got["ok"] = true
	return got
}

func failure(err error) answer {
	if s, ok := status.FromError(err); ok {
		return answer{"ok": false, "error": s.Message(), "code": s.Code().String()}
	}
	return answer{"ok": false, "error": err.Error()}
}

func (h *host) do(op operation) (answer, error) {
	switch {
	case op.Op == "start":
		return h.start()
	case h.client == nil:
		return nil, errors.New("the plugin was not started")
	case op.Op == "kill":
		return h.kill(), nil
	case op.Op == "put":
		return nil, h.put(op.ID, op.Key, op.Value)
	case op.Op == "get":
		return h.get(op.ID, op.Key)
	case op.Op == "accept":
		return h.accept(op.ID, op.Key)
	case op.Op == "stop":
		return nil, h.broker.Stop(op.ID)
	case op.Op == "served":
		return h.served(op.ID, op.Key)
	case op.Op == "dial":
		return h.dial(op.ID, op.Key)
	case op.Op == "hang_up":
		return nil, h.hangUp(op.ID)
	case op.Op == "rounds":
		return h.rounds(op.Calls, op.AtOnce)
	case op.Op == "ping":
		return nil, h.protocol.Ping()
	case op.Op == "health":
		return h.health(op.Service)
	case op.Op == "watch":
		return h.watch(op.Service, milliseconds(op.Millis))
	case op.Op == "storm":
		return h.storm(op.Calls, op.Key)
	case op.Op == "reflect":
		return h.reflect(op.Version)
	case op.Op == "unknown_method":
		return nil, h.unknownMethod(op.Method)
	case op.Op == "stdio":
		return h.stdio(op.Stdout, op.Stderr)
	}
	return nil, fmt.Errorf("no operation is called %q", op.Op)
}

func (h *host) start() (answer, error) {
	if h.client != nil {
		return nil, errors.New("the plugin runs already")
	}

	// A client lives once, and writes to its configuration.
	config := h.config
	config.Cmd = exec.Command(h.command[0], h.command[1:]...)
	config.SyncStdout, config.SyncStderr = &h.stdout, &h.stderr
	plugins := plugin.PluginSet{
		shared.PluginNetRPC: brokered{},
		shared.PluginGRPC:   &shared.KVGRPCPlugin{},
	}
	if h.versions == nil {
		config.Plugins = plugins
	} else {
		config.VersionedPlugins = map[int]plugin.PluginSet{}
		for _, version := range h.versions {
			config.VersionedPlugins[version] = plugins
		}
	}

	h.client = plugin.NewClient(&config)
	got, err := h.connect()
	if err != nil {
		h.kill()
	}
	return got, err
}

func (h *host) connect() (answer, error) {
	address, err := h.client.Start()
	if err != nil {
		return nil, err
	}
	if h.protocol, err = h.client.Client(); err != nil {
		return nil, err
	}
	h.conn = h.protocol.(*plugin.GRPCClient).Conn
	raw, err := h.protocol.Dispense(shared.PluginNetRPC)
	if err != nil {
		return nil, err
	}
	kv := raw.(brokeredKV)
	h.kv, h.broker, h.dialled = kv.KV, kv.broker, map[uint32]*subchannel.KV{}
	return answer{
		"version": h.client.NegotiatedVersion(),
		"network": address.Network(),
		"address": address.String(),
		"pid":     h.client.ReattachConfig().Pid,
	}, nil
}

func (h *host) kill() answer {
	if h.client == nil {
		return nil
	}
	for _, kv := range h.dialled {
		_ = kv.Close()
	}
	if h.broker != nil {
		h.broker.StopAll()
	}
	begin := time.Now()
	h.client.Kill()
	got := answer{"exited": h.client.Exited(), "millis": time.Since(begin).Milliseconds()}
	h.client, h.protocol, h.conn = nil, nil, nil
	h.kv, h.broker, h.dialled = nil, nil, nil
	return got
}

func (h *host) health(service string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	got, err := grpc_health_v1.NewHealthClient(h.conn).Check(
		ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return nil, err
	}
	return answer{"status": got.Status.String()}, nil
}

func (h *host) watch(service string, during time.Duration) (answer, error) {
	// No deadline: the plugin would be told of it and could end the stream.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := grpc_health_v1.NewHealthClient(h.conn).Watch(
		ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return nil, err
	}

	time.AfterFunc(during, cancel)
	statuses := []string{}
	for {
		got, err := stream.Recv()
		if err == nil {
			statuses = append(statuses, got.Status.String())
			continue
		}
		if ctx.Err() != nil {
			return answer{"statuses": statuses, "open": true}, nil
		}
		ended := status.Convert(err)
		return answer{
			"statuses": statuses, "open": false,
			"code": ended.Code().String(), "error": ended.Message(),
		}, nil
	}
}

func (h *host) storm(calls int, key string) (answer, error) {
	var (
		running sync.WaitGroup
		guard   sync.Mutex
		good    int
		first   string
		lastGet time.Time
	)
	begin := time.Now()
	for range calls {
		running.Add(1)
		go func() {
			defer running.Done()
			_, err := h.kv.Get(key)
			guard.Lock()
			defer guard.Unlock()
			lastGet = time.Now()
			if err == nil {
				good++
			} else if first == "" {
				first = err.Error()
			}
		}()
	}

	// Gives the calls the time to be on the wire, all those the plugin allows.
	time.Sleep(50 * time.Millisecond)
	pingErr := h.protocol.Ping()
	endOfPing := time.Now()
	running.Wait()

	got := answer{
		"good": good, "error": first, "millis": lastGet.Sub(begin).Milliseconds(),
		"ping_ok": pingErr == nil, "ping_before_last": endOfPing.Before(lastGet),
	}
	if pingErr != nil {
		got["ping_error"] = pingErr.Error()
	}
	return got, nil
}

func (h *host) unknownMethod(method string) error {
	if method == "" {
		method = "/proto.KV/NoSuchMethod"
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return h.conn.Invoke(ctx, method, &proto.Empty{}, &proto.Empty{})
}

func milliseconds(n int) time.Duration {
	return time.Duration(n) * time.Millisecond
}

// stdio gives what the plugin printed, once there is as much as is waited for.
func (h *host) stdio(stdout, stderr int) (answer, error) {
	if err := errors.Join(h.stdout.wait(stdout), h.stderr.wait(stderr)); err != nil {
		return nil, err
	}
	return answer{"stdout": h.stdout.bytes(), "stderr": h.stderr.bytes()}, nil
}

// output is a buffer that one goroutine fills while another looks at it.
type output struct {
	guard sync.Mutex
	got   bytes.Buffer

	// Closed and replaced by each write.
	more chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.guard.Lock()
	defer o.guard.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.got.Write(p)
}

func (o *output) bytes() []byte {
	o.guard.Lock()
	defer o.guard.Unlock()
	return append([]byte{}, o.got.Bytes()...)
}

func (o *output) wait(count int) error {
	limit := time.After(callTimeout)
	for {
		got, more := o.state()
		if got >= count {
			return nil
		}
		select {
		case <-more:
		case <-limit:
			return fmt.Errorf("%d bytes came, not %d", got, count)
		}
	}
}

func (o *output) state() (int, chan struct{}) {
	o.guard.Lock()
	defer o.guard.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.got.Len(), o.more
}
