"""grpclib made fit for plugins: the one package that knows its private names.

What differs from stock grpclib, in channels and servers made here only:

* What almost every call does takes a short way, in ``call`` and ``answer``; grpclib's own remains
  for what is unusual, and where its events are listened to.
* As many streams at once as the peer likes, and a connection window that a few hundred unread
  streams do not fill, so that neither a burst of calls nor a slow reader holds up a health check.
* A lost connection ends calls with a ``GRPCError`` of status ``UNAVAILABLE``, never with a bare
  ``StreamTerminatedError``, ``ConnectionRefusedError`` or a hang; calls whose answer is complete
  succeed. A stream that the peer reset ends with the status that gRPC assigns to its error code.
* A stream that ends without trailers, and an answer that cannot be read, are ``INTERNAL`` errors.
* An answer that comes before everything was sent stands, as does one beside a GOAWAY.
* A peer that says GOAWAY still answers the calls it has taken; the next call connects anew.
* Frames of unknown kinds do no harm, and an answer that is none ends its call with ``INTERNAL``.
* An unknown method is ``UNIMPLEMENTED``, to clients of any kind.
* A handler's exception becomes status ``UNKNOWN`` with the exception's text, and one log record.
* Closing a server or a channel closes its connections, and can be awaited.
* Both run over the streams of a multiplexed connection as well, TLS inside them.
"""
