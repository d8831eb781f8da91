"""The plugin: its host starts this file as a process. It logs all levels, and its host chooses."""

from chatter import HANDSHAKE, ChatterPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    serve(
        ServeConfig(
            handshake_config=HANDSHAKE, plugins={"chatter": ChatterPlugin()}, log_level="debug"
        )
    )
