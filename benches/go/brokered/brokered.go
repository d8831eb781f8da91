// Package brokered is what hosts have of a brokerplugin.
package brokered

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/proto"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"

	"pyplugin.test/benches/subchannel"
)

// StreamMethod answers a key, which is a number, with so many messages of 100
// bytes.
const StreamMethod = "/bench.Stream/Values"

// Plugin gives the broker along with the KV; hosts get a *Host of it.
type Plugin struct{ *shared.KVGRPCPlugin }

var _ plugin.GRPCPlugin = Plugin{}

// New is a Plugin.
func New() Plugin { return Plugin{&shared.KVGRPCPlugin{}} }

// GRPCClient is go-plugin's.
func (p Plugin) GRPCClient(
	ctx context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn,
) (any, error) {
	raw, err := p.KVGRPCPlugin.GRPCClient(ctx, broker, conn)
	if err != nil {
		return nil, err
	}
	return &Host{KV: raw.(shared.KV), broker: broker, conn: conn}, nil
}

// Host is a running plugin.
type Host struct {
	KV     shared.KV
	broker *plugin.GRPCBroker
	conn   *grpc.ClientConn
}

// Call makes a call to the plugin itself.
func (h *Host) Call() error {
	_, err := h.KV.Get("now")
	return err
}

// Getter asks for so many bytes.
func (h *Host) Getter(size int) func() error {
	key := fmt.Sprintf("bytes:%d", size)
	return func() error {
		value, err := h.KV.Get(key)
		if err == nil && len(value) != size {
			err = fmt.Errorf("got %d bytes", len(value))
		}
		return err
	}
}

// Putter sends as many.
func (h *Host) Putter(size int) func() error {
	value := make([]byte, size)
	return func() error { return h.KV.Put("value", value) }
}

// Stream asks for so many messages.
func (h *Host) Stream(count int) error {
	stream, err := h.conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, StreamMethod)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&proto.GetRequest{Key: strconv.Itoa(count)}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for came := 0; ; came++ {
		// A new one each time, as generated code has it.
		if err := stream.RecvMsg(new(proto.GetResponse)); errors.Is(err, io.EOF) && came == count {
			return nil
		} else if err != nil {
			return fmt.Errorf("after %d messages: %w", came, err)
		}
	}
}

// Serve has the plugin call back under an id.
func (h *Host) Serve() error {
	id := h.broker.NextId()
	server, err := subchannel.Serve(h.broker, id)
	if err != nil {
		return err
	}
	defer server.Stop()
	_, err = h.KV.Get(fmt.Sprintf("dial:%d", id))
	return err
}

// Dial calls what the plugin serves under an id.
func (h *Host) Dial() error {
	text, err := h.KV.Get("accept")
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil {
		return err
	}
	if err := subchannel.Call(h.broker, uint32(id)); err != nil {
		return err
	}
	_, err = h.KV.Get("stop:" + string(text))
	return err
}

// PluginCPU is what the plugin has used of the processors, in seconds.
func (h *Host) PluginCPU() (float64, error) {
	text, err := h.KV.Get("cpu")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(string(text), 64)
}
