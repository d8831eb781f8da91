package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	piece  = 256 * 1024
	pieces = 64
)

var scenarios = map[string]func(context.Context, client, int) error{
	"streams":   streams,
	"calls":     calls,
	"cancel":    cancel,
	"deadline":  deadlines,
	"metadata":  headers,
	"large":     large,
	"unread":    unread,
	"unwritten": unwritten,
	"many":      many,
}

type client struct{ *grpc.ClientConn }

func (c client) open(ctx context.Context, method string) (grpc.ClientStream, error) {
	both := grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	return c.NewStream(ctx, &both, "/"+service+"/"+method)
}

// do sends all of the values, and gives all answers.
func (c client) do(ctx context.Context, method string, values ...[]byte) ([][]byte, error) {
	stream, err := c.open(ctx, method)
	if err != nil {
		return nil, err
	}
	for _, value := range values {
		// An EOF says that there is an answer.
		if err := send(stream, value); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return rest(stream)
}

func rest(stream grpc.ClientStream) ([][]byte, error) {
	var got [][]byte
	for {
		value, err := receive(stream)
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, value)
	}
}

// is tells what is not as it should be.
func is(what string, got, wanted any) error {
	if reflect.DeepEqual(got, wanted) {
		return nil
	}
	return fmt.Errorf("%s: %.200v, not %.200v", what, got, wanted)
}

// atOnce does something many times at the same time.
func atOnce(times int, do func(n int) error) error {
	ends := make(chan error, times)
	for n := range times {
		go func() { ends <- do(n) }()
	}
	var errs []error
	for range times {
		errs = append(errs, <-ends)
	}
	return errors.Join(errs...)
}

func streams(ctx context.Context, c client, _ int) error {
	return atOnce(20, func(n int) error {
		value := numbered(n, 1000)
		got, err := c.do(ctx, "Echo", value)
		err = errors.Join(err, is("echo", got, [][]byte{value}))
		sent := [][]byte{numbered(0, 10), numbered(1, 0), numbered(2, 70_000)}
		summed, sumErr := c.do(ctx, "Sum", sent...)
		err = errors.Join(err, sumErr, is("sum", summed, [][]byte{[]byte("3:70010")}))
		counted, countErr := c.do(ctx, "Count", []byte("3:40000"))
		wanted := [][]byte{numbered(0, 40_000), numbered(1, 40_000), numbered(2, 40_000)}
		err = errors.Join(err, countErr, is("count", counted, wanted))
		chatted, chatErr := c.do(ctx, "Chat", sent...)
		if len(chatted) == 3 && len(chatted[1]) == 0 {
			chatted[1] = []byte{}
		}
		return errors.Join(err, chatErr, is("chat", chatted, sent))
	})
}

func calls(ctx context.Context, c client, count int) error {
	var begun atomic.Int64
	return atOnce(64, func(int) error {
		for {
			n := int(begun.Add(1))
			if n > count {
				return nil
			}
			value := numbered(n, 10+n%500)
			got, err := c.do(ctx, "Echo", value)
			if err := errors.Join(err, is("call", got, [][]byte{value})); err != nil {
				return err
			}
		}
	})
}

func cancel(ctx context.Context, c client, _ int) error {
	err := atOnce(50, func(n int) error {
		ctx, end := context.WithCancel(ctx)
		defer end()
		stream, err := c.open(ctx, "Hang")
		if err != nil {
			return err
		}
		value, err := receive(stream)
		if err != nil {
			return err
		}
		end()
		_, err = receive(stream)
		return errors.Join(
			is("first", string(value), "hanging"), is("code", status.Code(err), codes.Canceled))
	})
	got, endErr := c.do(ctx, "Ends")
	err = errors.Join(err, endErr, is("ended", got, [][]byte{[]byte("50")}))
	failed, failErr := c.do(ctx, "Fail", nil)
	dropped, dropErr := c.do(ctx, "Drop", nil)
	return errors.Join(err,
		is("before the reset", dropped, [][]byte{[]byte("one")}),
		is("code of the reset", status.Code(dropErr), codes.Internal),
		is("before the failure", failed, [][]byte{[]byte("one")}),
		is("code", status.Code(failErr), codes.FailedPrecondition),
		is("text", status.Convert(failErr).Message(), "100 % größer\n"))
}

func deadlines(ctx context.Context, c client, _ int) error {
	got, err := c.do(ctx, "Deadline")
	err = errors.Join(err, is("deadline", got, [][]byte{[]byte("none")}))
	limited, end := context.WithTimeout(ctx, time.Hour)
	defer end()
	got, leftErr := c.do(limited, "Deadline")
	if leftErr != nil {
		return errors.Join(err, leftErr)
	}
	left, numberErr := strconv.Atoi(string(got[0]))
	if left <= 3_500_000 || left > 3_600_000 {
		err = errors.Join(err, fmt.Errorf("of an hour are left %d ms", left))
	}
	short, endShort := context.WithTimeout(ctx, 50*time.Millisecond)
	defer endShort()
	_, late := c.do(short, "Hang")
	_, endErr := c.do(ctx, "Ends")
	return errors.Join(err, numberErr, endErr,
		is("code", status.Code(late), codes.DeadlineExceeded))
}

func headers(ctx context.Context, c client, _ int) error {
	all := metadata.MD{
		"x-text":     {"plain ~ text, with, commas"},
		"x-repeated": {"one", "two", "one"},
		"x-some-bin": {"\x00\xff\n\x80", ""},
		"x-long":     {strings.Repeat("long ", 12_000)},
	}
	stream, err := c.open(metadata.NewOutgoingContext(ctx, all), "Echo")
	if err != nil {
		return err
	}
	err = errors.Join(send(stream, nil), stream.CloseSend())
	_, answerErr := rest(stream)
	first, headerErr := stream.Header()
	last := stream.Trailer()
	delete(first, "content-type")
	return errors.Join(err, answerErr, headerErr,
		is("headers", first, all), is("trailers", last, all))
}

func large(ctx context.Context, c client, _ int) error {
	value := bytes.Repeat([]byte("0123456789abcdef"), 5*65536)
	return atOnce(4, func(int) error {
		got, err := c.do(ctx, "Echo", value)
		if err == nil && (len(got) != 1 || !bytes.Equal(got[0], value)) {
			err = errors.New("5 MiB came back changed")
		}
		return err
	})
}

// unread has more sent than windows hold, and reads it after other calls.
func unread(ctx context.Context, c client, _ int) error {
	stream, err := c.open(ctx, "Count")
	if err != nil {
		return err
	}
	if err := send(stream, fmt.Appendf(nil, "%d:%d", pieces, piece)); err != nil {
		return err
	}
	if err := errors.Join(stream.CloseSend(), calls(ctx, c, 500)); err != nil {
		return err
	}
	got, err := rest(stream)
	for n, value := range got {
		err = errors.Join(err, is("piece", value, numbered(n, piece)))
	}
	return errors.Join(err, is("pieces", len(got), pieces))
}

// unwritten sends more than windows hold to who reads it after other calls.
func unwritten(ctx context.Context, c client, _ int) error {
	var sent [][]byte
	for n := range pieces {
		sent = append(sent, numbered(n, piece))
	}
	ends := make(chan error, 1)
	go func() {
		got, err := c.do(ctx, "Slow", sent...)
		wanted := fmt.Appendf(nil, "%d:%d", pieces, pieces*piece)
		ends <- errors.Join(err, is("sum", got, [][]byte{wanted}))
	}()
	err := calls(ctx, c, 500)
	_, releaseErr := c.do(ctx, "Release", nil)
	return errors.Join(err, releaseErr, <-ends)
}

// many has 300 streams open at the same time.
func many(ctx context.Context, c client, _ int) error {
	var open []grpc.ClientStream
	for range 300 {
		stream, err := c.open(ctx, "Chat")
		if err != nil {
			return err
		}
		open = append(open, stream)
	}
	for round := range 3 {
		for n, stream := range open {
			if err := send(stream, numbered(n, 100+round)); err != nil {
				return err
			}
		}
		for n, stream := range open {
			value, err := receive(stream)
			if err := errors.Join(err, is("chat", value, numbered(n, 100+round))); err != nil {
				return err
			}
		}
	}
	for _, stream := range open {
		err := stream.CloseSend()
		if _, restErr := rest(stream); err != nil || restErr != nil {
			return errors.Join(err, restErr)
		}
	}
	return nil
}
