// Yamux measures how fast two of Go's yamux sessions exchange messages of
// 16 KiB over net.Pipe: one on each stream, until all of them are read.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const message = 16 * 1024

func main() {
	rounds := flag.Int("rounds", 20, "samples for each number of streams")
	total := flag.Int("messages", 8192, "messages of a sample")
	flag.Parse()
	for _, count := range []int{1, 16, 256, 4096} {
		if err := measure(count, *rounds, *total); err != nil {
			fmt.Fprintln(os.Stderr, "yamux:", err)
			os.Exit(1)
		}
	}
}

func measure(count, rounds, total int) error {
	near, far := net.Pipe()
	client, err := yamux.Client(near, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	server, err := yamux.Server(far, nil)
	if err != nil {
		return err
	}
	defer server.Close()

	writers := make([]io.Writer, count)
	readers := make([]io.Reader, count)
	for index := range count {
		if writers[index], err = client.OpenStream(); err != nil {
			return err
		}
		if readers[index], err = server.AcceptStream(); err != nil {
			return err
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
	median := samples[rounds/2]
	rate := float64(message) / median.Seconds() / (1 << 30)
	fmt.Printf("%5d streams: %v a message, %.2f GiB/s, best %v\n", count, median, rate, samples[0])
	return nil
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
