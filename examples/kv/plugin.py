"""The plugin: run it by examples/kv/host.py, or by go-plugin's example host."""

from kv import HANDSHAKE, KVPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"kv_grpc": KVPlugin()}))
