"""The plugin: its host starts this file as a process, with the version that it is to be."""

import sys

from worker import HANDSHAKE, WorkerPlugin

from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    plugin = WorkerPlugin(version=sys.argv[1])
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"worker": plugin}))
