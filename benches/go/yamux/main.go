// Yamux measures how fast two of Go's yamux sessions exchange messages of
// 16 KiB: one on each stream, until all of them are read. It prints the median
// nanoseconds of one, for each number of streams, as JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"
)

const message = 16 * 1024

func main() {
	network := flag.String("network", "pipe", `"pipe" is net.Pipe, "unix" a pair of sockets`)
	rounds := flag.Int("rounds", 20, "samples for each number of streams")
	total := flag.Int("messages", 8192, "messages of a sample")
	flag.Parse()
	got := map[int]int64{}
	for _, count := range []int{1, 16, 256, 4096} {
		median, err := measure(*network, count, *rounds, *total)
		if err != nil {
			fmt.Fprintln(os.Stderr, "yamux:", err)
			os.Exit(1)
		}
		got[count] = median.Nanoseconds()
	}
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		fmt.Fprintln(os.Stderr, "yamux:", err)
		os.Exit(1)
	}
}

func measure(network string, count, rounds, total int) (time.Duration, error) {
	near, far, err := pair(network)
	if err != nil {
		return 0, err
	}
	client, err := yamux.Client(near, nil)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	server, err := yamux.Server(far, nil)
	if err != nil {
		return 0, err
	}
	defer server.Close()

	writers := make([]io.Writer, count)
	readers := make([]io.Reader, count)
	for index := range count {
		if writers[index], err = client.OpenStream(); err != nil {
			return 0, err
		}
		if readers[index], err = server.AcceptStream(); err != nil {
			return 0, err
		}
	}
	each := max(1, total/count)
	samples := make([]time.Duration, rounds)
	for round := range samples {
		start := time.Now()
		exchange(writers, readers, each)
		samples[round] = time.Since(start) / time.Duration(each*count)
	}
	sort.Slice(samples, func(i, j int) bool { return samples[i] < samples[j] })
	return samples[rounds/2], nil
}

func pair(network string) (near, far net.Conn, err error) {
	if network == "pipe" {
		near, far = net.Pipe()
		return near, far, nil
	}
	descriptors, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]net.Conn
	for index, descriptor := range descriptors {
		file := os.NewFile(uintptr(descriptor), "socket")
		defer file.Close()
		if ends[index], err = net.FileConn(file); err != nil {
			return nil, nil, err
		}
	}
	return ends[0], ends[1], nil
}

func exchange(writers []io.Writer, readers []io.Reader, each int) {
	var group sync.WaitGroup
	group.Add(2 * len(writers))
	for index := range writers {
		go func() {
			defer group.Done()
			text := make([]byte, message)
			for range each {
				if _, err := writers[index].Write(text); err != nil {
					panic(err)
				}
			}
		}()
		go func() {
			defer group.Done()
			text := make([]byte, message)
			for range each {
				if _, err := io.ReadFull(readers[index], text); err != nil {
					panic(err)
				}
			}
		}()
	}
	group.Wait()
}
