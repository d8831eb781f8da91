package main

import (
	"bytes"
	"strconv"
	"sync"

	"pyplugin.test/benches/bench"
	"pyplugin.test/benches/monotonic"
)

var (
	errorStart   = []byte(`{"@level":"error"`)
	messageStart = []byte(`"@message":"`)
)

// sink is what hclog writes to, one line at a time.
type sink struct {
	// done is closed when the last line of every plugin is there.
	done chan struct{}

	guard sync.Mutex
	left  int
	lines int
	end   bench.Reading
	// late has nanoseconds from the writing of each paced line to its arrival.
	late []int64
}

func newSink(plugins int) *sink {
	return &sink{done: make(chan struct{}), left: plugins}
}

func (s *sink) Write(line []byte) (int, error) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.lines++
	if bytes.HasPrefix(line, errorStart) {
		s.left--
		if s.left == 0 {
			s.end = bench.Now()
			close(s.done)
		}
	}
	return len(line), nil
}

func (s *sink) seen() int {
	s.guard.Lock()
	defer s.guard.Unlock()
	return s.lines
}

// pacedSink takes lines whose message is the time of their writing.
type pacedSink struct{ *sink }

func (s pacedSink) Write(line []byte) (int, error) {
	arrived := monotonic.Nanoseconds()
	if at := bytes.Index(line, messageStart); at >= 0 {
		message, _, _ := bytes.Cut(line[at+len(messageStart):], []byte(`"`))
		if sent, err := strconv.ParseInt(string(message), 10, 64); err == nil {
			s.late = append(s.late, arrived-sent)
		}
	}
	return s.sink.Write(line)
}
