"""The plugin: ``python -m benches.broker.plugin``, in the port's environment too."""

from __future__ import annotations

import os
import select
import threading

from benches.broker.service import HANDSHAKE, BrokeredPlugin
from pyplugin import ServeConfig, serve


def end_with_host(stderr: int) -> None:
    """Ends the process when nobody is left to read its stderr.

    A host that had to be killed leaves no plugin behind.
    """
    hangup = select.poll()
    hangup.register(stderr, 0)
    hangup.poll()
    os._exit(0)


if __name__ == "__main__":
    # Serving puts a pipe in the place of descriptor 2.
    threading.Thread(target=end_with_host, args=[os.dup(2)], daemon=True).start()
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"kv_grpc": BrokeredPlugin()}))
