// Rpcpeer is one end of a gRPC connection over a unix socket, with calls of all
// kinds. It serves until a call stops it, or makes the calls of a scenario and
// checks what comes of them.
//
//	rpcpeer serve SOCKET
//	rpcpeer call SOCKET SCENARIO CALLS
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rpcpeer:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "serve":
		return listen(arguments[1])
	case len(arguments) == 4 && arguments[0] == "call":
		calls, err := strconv.Atoi(arguments[3])
		if err != nil {
			return err
		}
		return call(arguments[1], arguments[2], calls)
	}
	return errors.New("what am I to do?")
}

func listen(socket string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(math.MaxInt32))
	register(server)
	fmt.Println("serving")
	return server.Serve(listener)
}

func call(socket, scenario string, calls int) error {
	conn, err := grpc.Dial("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return err
	}
	defer conn.Close()
	do, ok := scenarios[scenario]
	if !ok {
		return fmt.Errorf("no scenario is called %q", scenario)
	}
	return do(context.Background(), client{conn}, calls)
}
