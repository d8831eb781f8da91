package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pyplugin.test/interop/subchannel"
)

// realStderr is the process's own: serving puts a pipe in os.Stderr's place.
var realStderr = os.Stderr

// store is a KV in memory. To get some keys makes it misbehave.
type store struct {
	guard  sync.Mutex
	values map[string][]byte
	broker *subchannel.Broker
}

func newStore() *store {
	return &store{values: map[string][]byte{}}
}

func (s *store) Put(key string, value []byte) error {
	if argument, ok := strings.CutPrefix(key, "dial:"); ok {
		return s.putThere(argument, value)
	}
	s.guard.Lock()
	defer s.guard.Unlock()
	s.values[key] = slices.Clone(value)
	return nil
}

func (s *store) Get(key string) ([]byte, error) {
	name, argument, _ := strings.Cut(key, ":")
	switch name {
	case "panic":
		panic("asked to panic")
	case "exit":
		os.Exit(7)
	case "stderr-exit":
		for n := range 3 {
			fmt.Fprintf(realStderr, "last words %d\n", n+1)
		}
		os.Exit(9)
	case "log":
		return logKinds(argument)
	case "print":
		if argument != "" {
			return printNumbered(argument)
		}
		return printBytes(os.Getenv("KV_PRINT"))
	case "accept", "serve", "stop", "dial", "send":
		return s.onBroker(name, argument)
	case "sleep", "bytes", "fat-error":
		return counted(name, argument)
	}

	s.guard.Lock()
	defer s.guard.Unlock()
	value, ok := s.values[key]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no key %q", key)
	}
	return value, nil
}

func counted(name, argument string) ([]byte, error) {
	n, err := strconv.Atoi(argument)
	if err != nil || n < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "%q is no count", argument)
	}
	switch name {
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond)
		return []byte("slept"), nil
	case "bytes":
		return make([]byte, n), nil
	default:
		return nil, errors.New(strings.Repeat("e", n))
	}
}

func printBytes(count string) ([]byte, error) {
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "KV_PRINT is %q", count)
	}
	if _, err := os.Stdout.Write([]byte(strings.Repeat("p", n))); err != nil {
		return nil, err
	}
	return []byte(strconv.Itoa(n)), nil
}

// printNumbered prints for an argument of the form stdout:COUNT or
// stderr:COUNT.
func printNumbered(argument string) ([]byte, error) {
	name, text, _ := strings.Cut(argument, ":")
	count, err := strconv.Atoi(text)
	if err != nil || count < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "%q is no count", text)
	}
	file, letter := os.Stdout, byte('o')
	if name == "stderr" {
		file, letter = os.Stderr, 'e'
	}
	if _, err := file.Write(subchannel.Numbered(letter, count)); err != nil {
		return nil, err
	}
	return []byte(text), nil
}
