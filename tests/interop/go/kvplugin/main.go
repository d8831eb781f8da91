// Command kvplugin is a KV plugin that serves go-plugin's way and, as the
// KV_* variables tell it, in ways that go-plugin's own examples cannot.
package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/examples/grpc/shared"
	"google.golang.org/grpc"

	"pyplugin.test/interop/subchannel"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kvplugin:", err)
		os.Exit(1)
	}
}

func run() error {
	versions, err := numbers(os.Getenv("KV_VERSIONS"))
	if err != nil {
		return err
	}
	if path := os.Getenv("KV_SIGTERM_FILE"); path != "" {
		noteSIGTERM(path)
	}
	if err := logLines(os.Getenv("KV_LOG")); err != nil {
		return err
	}

	plugins := plugin.PluginSet{
		shared.PluginNetRPC: brokered{store: newStore()},
		shared.PluginGRPC:   alias{},
	}
	if mode := os.Getenv("KV_TCP"); mode != "" {
		return serveTCP(plugins, versions, mode == "ipv6")
	}

	config := plugin.ServeConfig{
		HandshakeConfig: shared.Handshake,
		GRPCServer:      plugin.DefaultGRPCServer,
	}
	if folder := os.Getenv("KV_TLS"); folder != "" {
		config.TLSProvider = func() (*tls.Config, error) {
			return subchannel.OwnTLS(folder, "plugin")
		}
	}
	if versions == nil {
		config.Plugins = plugins
	} else {
		config.VersionedPlugins = map[int]plugin.PluginSet{}
		for _, version := range versions {
			config.VersionedPlugins[version] = plugins
		}
	}
	plugin.Serve(&config)
	return nil
}

// alias is a second name of the KV plugin. A gRPC server takes a service once,
// and the name of a plugin is not on the wire.
type alias struct{ *shared.KVGRPCPlugin }

var _ plugin.GRPCPlugin = alias{}

func (alias) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func noteSIGTERM(path string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		for range signals {
			if err := os.WriteFile(path, []byte("SIGTERM"), 0o600); err != nil {
				fmt.Fprintln(realStderr, err)
			}
		}
	}()
}

func logLines(count string) error {
	if count == "" {
		return nil
	}
	lines, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	logger := hclog.New(&hclog.LoggerOptions{
		Name: "kv", Level: hclog.Info, Output: realStderr, JSONFormat: true,
	})
	for n := range lines {
		logger.Info("line", "n", n, "text", "a \"b\" ü", "flag", n%2 == 0,
			"ratio", 0.5, "list", []int{1, 2}, "nothing", nil)
	}
	return nil
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
	slices.Sort(all)
	return all, nil
}
