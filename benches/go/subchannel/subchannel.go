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
	server *grpc.Server
	ended  chan struct{}
}

// Serve serves an id. It returns when the broker listens: go-plugin's listener
// of knocks begins before the muxer knows the id, and one that comes in between
// ends the plugin's own server.
func Serve(broker *plugin.GRPCBroker, id uint32) (*Server, error) {
	started, ended := make(chan *grpc.Server, 1), make(chan struct{})
	go func() {
		defer close(ended)
		broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			server := grpc.NewServer(options...)
			proto.RegisterKVServer(server, &shared.GRPCServer{Impl: empty{}})
			started <- server
			return server
		})
	}()
	select {
	case server := <-started:
		return &Server{server, ended}, nil
	case <-ended:
		return nil, fmt.Errorf("broker id %d could not be served", id)
	}
}

// Stop ends it, and waits for its end.
func (s *Server) Stop() {
	s.server.Stop()
	<-s.ended
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
