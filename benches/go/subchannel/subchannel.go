// Package subchannel opens connections by the broker, on either side.
package subchannel

import (
	"context"
	"fmt"

	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/proto"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"
)

// Server serves a KV under one id.
type Server struct {
	id      uint32
	started chan *grpc.Server
	ended   chan struct{}
}

// Serve begins to serve an id, as go-plugin's own examples do.
func Serve(broker *plugin.GRPCBroker, id uint32) *Server {
	s := &Server{id, make(chan *grpc.Server, 1), make(chan struct{})}
	go func() {
		defer close(s.ended)
		broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			server := grpc.NewServer(options...)
			proto.RegisterKVServer(server, &shared.GRPCServer{Impl: empty{}})
			s.started <- server
			return server
		})
	}()
	return s
}

// Stop ends it, and waits for its end.
func (s *Server) Stop() error {
	select {
	case server := <-s.started:
		server.Stop()
		<-s.ended
		return nil
	case <-s.ended:
		return fmt.Errorf("broker id %d could not be served", s.id)
	}
}

// Call makes one call to what the other side serves under an id.
func Call(broker *plugin.GRPCBroker, id uint32) error {
	conn, err := broker.Dial(id)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = proto.NewKVClient(conn).Get(context.Background(), &proto.GetRequest{Key: "now"})
	return err
}

// empty has no values.
type empty struct{}

func (empty) Put(string, []byte) error { return nil }

func (empty) Get(string) ([]byte, error) { return nil, nil }
