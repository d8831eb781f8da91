"""The plugin: its host starts this file as a process."""

from greeter import HANDSHAKE, GreeterPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"greeter": GreeterPlugin()}))
