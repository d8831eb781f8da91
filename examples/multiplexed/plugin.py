"""The plugin. It is the host that asks for one connection; every plugin can do both."""

from counter import HANDSHAKE, CounterPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"counter": CounterPlugin()}))
