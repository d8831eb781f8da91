// Yamuxpeer is one end of a yamux session over its stdin, a socket. The first
// line of every stream that it accepts says what it is to do.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/yamux"
)

func main() {
	client := flag.Bool("client", false, "be the client")
	window := flag.Uint("window", 256*1024, "receive window in bytes")
	backlog := flag.Int("backlog", 256, "streams that may wait")
	accepts := flag.Bool("accepts", true, "accept streams")
	closeTimeout := flag.Duration("close-timeout", 5*time.Minute, "until a half-closed stream is reset")
	keepAlive := flag.Duration("keep-alive", 30*time.Second, "between pings")
	flag.Parse()

	config := yamux.DefaultConfig()
	config.MaxStreamWindowSize = uint32(*window)
	config.AcceptBacklog = *backlog
	config.StreamCloseTimeout = *closeTimeout
	config.KeepAliveInterval = *keepAlive
	if err := run(config, *client, *accepts); err != nil {
		fmt.Fprintln(os.Stderr, "yamuxpeer:", err)
		os.Exit(1)
	}
}

func run(config *yamux.Config, client, accepts bool) error {
	conn, err := net.FileConn(os.Stdin)
	if err != nil {
		return err
	}
	start := yamux.Server
	if client {
		start = yamux.Client
	}
	session, err := start(conn, config)
	if err != nil {
		return err
	}
	if !accepts {
		<-session.CloseChan()
		return nil
	}
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			// The connection has ended, which is how the tests end it.
			return nil
		}
		go serve(session, stream)
	}
}

func serve(session *yamux.Session, stream *yamux.Stream) {
	reader := bufio.NewReader(stream)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	words := strings.Fields(line)
	switch words[0] {
	case "echo":
		if _, err = io.Copy(stream, reader); err == nil {
			err = stream.Close()
		}
	case "close":
		err = stream.Close()
	case "hold":
	case "ping":
		_, err = session.Ping()
		answer(stream, "pong", err)
	case "goaway":
		err = session.GoAway()
		answer(stream, "gone", err)
	case "streams":
		answer(stream, fmt.Sprint(session.NumStreams()), nil)
	case "open":
		err = open(session, words[1])
		answer(stream, "opened", err)
	default:
		err = fmt.Errorf("unknown: %q", line)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "yamuxpeer:", err)
	}
}

func answer(stream *yamux.Stream, text string, err error) {
	if err != nil {
		text = err.Error()
	}
	fmt.Fprintln(stream, text)
	stream.Close()
}

// Open sends text on a stream of its own, and wants to have it back.
func open(session *yamux.Session, text string) error {
	stream, err := session.OpenStream()
	if err != nil {
		return err
	}
	text = strings.Repeat(text, 100_000)
	go func() {
		io.WriteString(stream, text)
		stream.Close()
	}()
	back, err := io.ReadAll(stream)
	if err == nil && string(back) != text {
		err = fmt.Errorf("sent %d bytes, had %d back", len(text), len(back))
	}
	return err
}
