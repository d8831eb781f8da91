"""The command ``pyplugin``: its options, its exit status, and what a signal does."""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from .. import PyPluginError, __version__
from . import call, discover, doctor, inspect, logs
from .advice import advice
from .options import UsageError
from .output import complain

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

_EPILOG = """\
exit status:
  0        done
  1        the plugin did not start, or failed; discover: nothing was found
  2        the command line makes no sense: an option, a method, a message
  64 + N   call: the status of the call was N, such as 69 for NOT_FOUND (5)
  128 + N  ended by signal N, such as 130 for Ctrl-C; the plugin was ended too
"""
_COMMANDS = (inspect, call, logs, discover, doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words after the command's name; None means those of this process.

    Returns:
        The exit status.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # JSON is UTF-8; and bytes of a plugin that are none become escapes, which JSON has too.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = []
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    options = _parse(words)
    options.command = command
    if options.verbose:
        logging.basicConfig(format="pyplugin: %(message)s", level=logging.DEBUG)
        logging.getLogger("asyncio").setLevel(logging.INFO)
    try:
        return _run(options.run(options))
    except UsageError as error:
        complain(str(error))
        return 2
    except PyPluginError as error:
        complain("\n".join(filter(None, (str(error), advice(error, options)))))
        return 1
    except OSError as error:
        # Python is not to complain of it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            # Whoever read it has seen enough.
            return 128 + 13
        complain(f"cannot write: {error.strerror}")
        return 1


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(words)
    # argparse takes the second of two arguments only where no option is between them.
    for name in options.arguments:
        if getattr(options, name) is None and rest and not rest[0].startswith("--"):
            setattr(options, name, rest.pop(0))
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pyplugin",
        description="Looks at go-plugin plugins: starts them, calls them, follows their logs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pyplugin {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        text = module.__doc__ or ""
        one = commands.add_parser(
            module.__name__.rpartition(".")[2],
            usage=f"%(prog)s {module.USAGE}",
            help=text.partition("\n")[0].rstrip("."),
            description=text,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--json", action="store_true", help="for programs: see docs/cli.md")
        for argument, about in module.ARGUMENTS.items():
            one.add_argument(argument, nargs="?", metavar=argument.upper(), help=about)
        one.set_defaults(run=module.run, arguments=module.ARGUMENTS, verbose=False)
        module.add_options(one)
    return parser


def _run(work: Coroutine[Any, Any, int]) -> int:
    """Runs ``work`` until it ends, or a signal does it."""
    received: list[int] = []

    async def run() -> int:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def end(number: int) -> None:
            received.append(number)
            task.cancel()

        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGINT, end, signal.SIGINT)
            loop.add_signal_handler(signal.SIGTERM, end, signal.SIGTERM)
            # nohup
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                loop.add_signal_handler(signal.SIGHUP, end, signal.SIGHUP)
        return await work

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
