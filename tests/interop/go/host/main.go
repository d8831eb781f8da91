// Command host starts a KV plugin with go-plugin's client and does to it what
// the JSON lines on stdin say, answering each with one JSON line on stdout.
//
//	host [flags] -- CMD ARGS...
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"

	"pyplugin.test/interop/subchannel"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
}

func run() error {
	h, err := parse()
	if err != nil {
		return err
	}

	// The plugin inherits os.Stdin, and must not read the operations.
	script := os.Stdin
	if os.Stdin, err = os.Open(os.DevNull); err != nil {
		return err
	}

	defer h.kill()
	lines := bufio.NewReader(script)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := answers.Encode(h.answerTo(line)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func parse() (*host, error) {
	mtls := flag.Bool("mtls", false, "use AutoMTLS")
	tls := flag.String("tls", "", "folder of certificates to use TLS of its own with")
	mux := flag.Bool("mux", false, "ask for one multiplexed connection")
	versions := flag.String("versions", "", "versions to offer in place of 1, comma-joined")
	group := flag.String("socket-group", "", "group of the unix sockets")
	minPort := flag.Uint("min-port", 0, "lowest TCP port")
	maxPort := flag.Uint("max-port", 0, "highest TCP port")
	logPath := flag.String("log", "", "file for the host's log, as JSON")
	flag.Parse()
	if flag.NArg() == 0 {
		return nil, errors.New("no plugin command given")
	}

	logger := hclog.NewNullLogger()
	if *logPath != "" {
		file, err := os.Create(*logPath)
		if err != nil {
			return nil, err
		}
		logger = hclog.New(&hclog.LoggerOptions{
			Name: "host", Level: hclog.Trace, Output: file, JSONFormat: true,
		})
	}

	config := plugin.ClientConfig{
		HandshakeConfig:     shared.Handshake,
		AllowedProtocols:    []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:            *mtls,
		GRPCBrokerMultiplex: *mux,
		MinPort:             *minPort,
		MaxPort:             *maxPort,
		Logger:              logger,
	}
	if *group != "" {
		config.UnixSocketConfig = &plugin.UnixSocketConfig{Group: *group}
	}
	offered, err := numbers(*versions)
	if err != nil {
		return nil, err
	}
	if *tls != "" {
		if config.TLSConfig, err = subchannel.OwnTLS(*tls, "host"); err != nil {
			return nil, err
		}
	}
	return &host{config: config, versions: offered, command: flag.Args()}, nil
}

func numbers(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		number, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		all = append(all, number)
	}
	return all, nil
}
