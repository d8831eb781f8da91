"""The plugin: ``python -m benches.broker.plugin``, in the port's environment too."""

from __future__ import annotations

import os
import threading

from benches.broker.service import HANDSHAKE, BrokeredPlugin
from benches.readings import end_with_host
from pyplugin import ServeConfig, serve

if __name__ == "__main__":
    # Serving puts a pipe in the place of descriptor 2.
    threading.Thread(target=end_with_host, args=[os.dup(2)], daemon=True).start()
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"kv_grpc": BrokeredPlugin()}))
