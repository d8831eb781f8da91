"""The plugin: run it by examples/bidirectional/host.py, or by go-plugin's example host."""

from counter import HANDSHAKE, CounterPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"counter": CounterPlugin()}))
