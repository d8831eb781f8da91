"""The plugin: run it by examples/streaming/host.py, or by go-plugin's example host."""

from streamer import HANDSHAKE, StreamerPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"streamer": StreamerPlugin()}))
