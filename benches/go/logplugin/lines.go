package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"pyplugin.test/benches/monotonic"
)

const (
	jsonBytes  = 253
	plainBytes = 120
	longBytes  = 100 * 1024

	// A block is written at once, so that the host is what is waited for.
	blockBytes = 256 * 1024
)

// realStderr is the process's own: serving puts a pipe in os.Stderr's place.
var realStderr = os.Stderr

// writerOf gives what writes lines of a kind.
func writerOf(kind string) (func(count int) error, error) {
	switch kind {
	case "json":
		return blockWriter(jsonBytes, jsonLine(hclog.Info, jsonBytes)), nil
	case "debug":
		return blockWriter(jsonBytes, jsonLine(hclog.Debug, jsonBytes)), nil
	case "long":
		return blockWriter(longBytes, jsonLine(hclog.Info, longBytes)), nil
	case "plain":
		return blockWriter(plainBytes, plainLine), nil
	case "paced":
		return pace, nil
	}
	return nil, fmt.Errorf("no kind of lines is called %q", kind)
}

// blockWriter writes lines of one size, many at once.
func blockWriter(size int, line func(n int) []byte) func(count int) error {
	var block []byte
	for n := 0; len(block) < blockBytes; n++ {
		block = append(block, line(n)...)
	}
	return func(count int) error {
		for left := count * size; left > 0; {
			written, err := realStderr.Write(block[:min(left, len(block))])
			if err != nil {
				return err
			}
			left -= written
		}
		return end()
	}
}

// pace writes a line a millisecond, whose message is the time.
func pace(count int) error {
	message := []byte(`{"@level":"info","@message":"`)
	rest := []byte(`","@module":"store","@timestamp":"2026-01-02T03:04:05.678901Z",` +
		`"cached":true,"duration_ms":12.25,"method":"GET","status":200}` + "\n")
	for range count {
		time.Sleep(time.Millisecond)
		line := strconv.AppendInt(message, monotonic.Nanoseconds(), 10)
		if _, err := realStderr.Write(append(line, rest...)); err != nil {
			return err
		}
	}
	return end()
}

// end writes the last line and waits until the host has read it.
func end() error {
	var last bytes.Buffer
	loggerTo(&last).Error("end")
	if _, err := realStderr.Write(last.Bytes()); err != nil {
		return err
	}
	for {
		unread, err := unix.IoctlGetInt(int(realStderr.Fd()), unix.TIOCINQ)
		if unread == 0 || err != nil {
			return err
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// jsonLine gives lines as hclog writes them, of just the size.
func jsonLine(level hclog.Level, size int) func(n int) []byte {
	return func(n int) []byte {
		unpadded := requestLine(level, n, "")
		return requestLine(level, n, strings.Repeat("x", size-len(unpadded)))
	}
}

func requestLine(level hclog.Level, n int, agent string) []byte {
	var line bytes.Buffer
	loggerTo(&line).Log(level, "request handled", "method", "GET",
		"path", fmt.Sprintf("/v1/items/%04d", n), "status", 200, "duration_ms", 12.25,
		"cached", n%2 == 0, "agent", agent)
	return line.Bytes()
}

func plainLine(n int) []byte {
	line := fmt.Appendf(nil, "%04d GET /v1/items answered in 12.25 ms from the cache ", n)
	return append(append(line, bytes.Repeat([]byte("x"), plainBytes-len(line)-1)...), '\n')
}

func loggerTo(buffer *bytes.Buffer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "store", Level: hclog.Trace, Output: buffer, JSONFormat: true,
	})
}
