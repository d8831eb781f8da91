package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const service = "peer.Peer"

// state is what calls know of each other.
type state struct {
	server *grpc.Server

	guard sync.Mutex
	// Calls of Hang that have begun, and those that have ended.
	begun, ended int
	changed      *sync.Cond

	// Closed by Release.
	release chan struct{}
}

func register(server *grpc.Server) {
	s := &state{server: server, release: make(chan struct{})}
	s.changed = sync.NewCond(&s.guard)
	both := func(name string, handle func(grpc.ServerStream) error) grpc.StreamDesc {
		return grpc.StreamDesc{
			StreamName: name, ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return handle(stream) },
		}
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: service, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			both("Echo", echo), both("Sum", sum), both("Count", count), both("Chat", chat),
			both("Slow", s.slow), both("Release", s.releaseIt), both("Hang", s.hang),
			both("Ends", s.ends), both("Deadline", deadline), both("Fail", fail),
			both("Stop", s.stop),
		},
	}, nil)
}

func receive(stream interface{ RecvMsg(any) error }) ([]byte, error) {
	var message wrapperspb.BytesValue
	err := stream.RecvMsg(&message)
	return message.Value, err
}

func send(stream interface{ SendMsg(any) error }, value []byte) error {
	return stream.SendMsg(&wrapperspb.BytesValue{Value: value})
}

// echo sends metadata that begins with x- back, as headers and as trailers.
func echo(stream grpc.ServerStream) error {
	value, err := receive(stream)
	if err != nil {
		return err
	}
	came, _ := metadata.FromIncomingContext(stream.Context())
	back := metadata.MD{}
	for key, values := range came {
		if strings.HasPrefix(key, "x-") {
			back[key] = values
		}
	}
	if err := stream.SendHeader(back); err != nil {
		return err
	}
	stream.SetTrailer(back)
	return send(stream, value)
}

func sum(stream grpc.ServerStream) error {
	messages, size := 0, 0
	for {
		value, err := receive(stream)
		if errors.Is(err, io.EOF) {
			return send(stream, fmt.Appendf(nil, "%d:%d", messages, size))
		}
		if err != nil {
			return err
		}
		messages++
		size += len(value)
	}
}

func count(stream grpc.ServerStream) error {
	value, err := receive(stream)
	if err != nil {
		return err
	}
	var messages, size int
	if _, err := fmt.Sscanf(string(value), "%d:%d", &messages, &size); err != nil {
		return err
	}
	for n := range messages {
		if err := send(stream, numbered(n, size)); err != nil {
			return err
		}
	}
	return nil
}

// numbered is a value that is like no other.
func numbered(n, size int) []byte {
	value := make([]byte, size)
	copy(value, fmt.Sprint(n))
	return value
}

func chat(stream grpc.ServerStream) error {
	for {
		value, err := receive(stream)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(stream, value); err != nil {
			return err
		}
	}
}

// slow reads nothing before Release.
func (s *state) slow(stream grpc.ServerStream) error {
	<-s.release
	return sum(stream)
}

func (s *state) releaseIt(stream grpc.ServerStream) error {
	close(s.release)
	return send(stream, nil)
}

// hang answers once, and then waits for the end of the call.
func (s *state) hang(stream grpc.ServerStream) error {
	s.note(&s.begun)
	defer s.note(&s.ended)
	if err := send(stream, []byte("hanging")); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (s *state) note(counter *int) {
	s.guard.Lock()
	defer s.guard.Unlock()
	*counter++
	s.changed.Broadcast()
}

// ends waits until every Hang that has begun has ended.
func (s *state) ends(stream grpc.ServerStream) error {
	s.guard.Lock()
	for s.ended < s.begun {
		s.changed.Wait()
	}
	ended := s.ended
	s.guard.Unlock()
	return send(stream, fmt.Append(nil, ended))
}

// deadline says how many milliseconds are left.
func deadline(stream grpc.ServerStream) error {
	at, ok := stream.Context().Deadline()
	if !ok {
		return send(stream, []byte("none"))
	}
	return send(stream, fmt.Append(nil, time.Until(at).Milliseconds()))
}

func fail(stream grpc.ServerStream) error {
	if err := send(stream, []byte("one")); err != nil {
		return err
	}
	return status.Error(codes.FailedPrecondition, "100 % größer\n")
}

// stop takes no more calls, and ends the program when those that are there have
// ended.
func (s *state) stop(stream grpc.ServerStream) error {
	go s.server.GracefulStop()
	return send(stream, nil)
}
