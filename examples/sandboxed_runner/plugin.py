"""The plugin: its host starts this file as a process, in a sandbox."""

from guest import HANDSHAKE, GuestPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"guest": GuestPlugin()}))
