package main

import (
	"errors"
	"math"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logKinds logs at every level and values of every kind, as text or as JSON.
func logKinds(form string) ([]byte, error) {
	logger := hclog.New(&hclog.LoggerOptions{
		Name: "kv", Level: hclog.Trace, Output: realStderr, JSONFormat: form == "json",
	})
	logger.Trace("a trace")
	logger.Debug("a debug")
	logger.Info("an info")
	logger.Warn("a warning")
	logger.Error("an error")

	store := logger.Named("store").With("request", 7)
	store.Info("numbers", "least", math.MinInt64, "most", uint64(math.MaxUint64),
		"ratio", 0.1, "huge", 1e300, "byte", byte(7))
	store.Info("texts", "empty", "", "quoted", "a \"b\" \\ ü \u2028", "lines", "one\ntwo",
		"control", "\x00\x1f", "html", "<&>", "bad", "a\xffb")
	store.Info("values", "yes", true, "nothing", nil, "list", []any{1, "a", nil},
		"map", map[string]any{"b": []int{1}, "a": nil}, "struct", struct{ A, b int }{1, 2},
		"bytes", []byte{1, 2})
	store.Info("words", "error", errors.New("an error"), "duration", 1500*time.Millisecond,
		"time", time.Date(2024, 1, 2, 3, 4, 5, 6, time.UTC), "address", netip.MustParseAddr("::1"),
		"hex", hclog.Hex(255), "octal", hclog.Octal(8), "binary", hclog.Binary(5),
		"format", hclog.Fmt("%d of %d", 1, 2))
	store.Info("odd", "a", 1, "left over")
	store.ResetNamed("other").Info("a module of its own")
	return []byte(form), nil
}
