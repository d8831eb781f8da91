"""``pyplugin call``: JSON in, JSON out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pb2

from tests.fixtures import is_alive

from . import COOKIE, LIMIT, PYTHON_KV, Done, command, environment, pyplugin
from .echo import describe

if TYPE_CHECKING:
    from tests.interop.peers import Peers

ECHO = [sys.executable, str(Path(__file__).with_name("echo.py"))]
# What JSON says of all of Google's well-known messages, and of 64-bit integers and bytes.
WORDS = {
    "text": "é",
    "repeatCount": "9007199254740993",
    "data": "AAE=",
    "at": "2024-01-02T03:04:05Z",
    "within": "1.500s",
    "more": {"a": [1.0, None, "b"]},
    "anything": {"@type": "type.googleapis.com/echo.v1.Words", "text": "in"},
}


def call(*words: str, plugin: list[str] = ECHO, **settings: Any) -> Done:
    """Calls in the clear, which starts faster."""
    return pyplugin("call", *COOKIE, "--no-tls", *words, plugin=plugin, **settings)


@pytest.mark.go
@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize("options", [[], ["--no-tls"], ["--mux"]], ids=["tls", "plain", "mux"])
def test_a_value_is_put_into_the_go_plugin_and_got_back(
    peers: Peers, tmp_path: Path, options: list[str]
) -> None:
    # go-plugin's example: its values outlive its process.
    plugin = [peers.grpc_plugin]
    put = pyplugin(
        *("call", *COOKIE, *options, "proto.KV/Put", '{"key": "a", "value": "aGVsbG8="}'),
        plugin=plugin,
        cwd=tmp_path,
    )
    assert (put.status, put.out, put.err) == (0, "{}\n", "")
    got = pyplugin("call", *COOKIE, *options, "Get", '{"key":"a"}', plugin=plugin, cwd=tmp_path)
    assert (got.status, got.err) == (0, "")
    assert got.json == {"value": "aGVsbG8KCldyaXR0ZW4gZnJvbSBwbHVnaW4tZ28tZ3JwYw=="}


@pytest.mark.parametrize("options", [["--mux"], []], ids=["mux", "tls"])
def test_a_python_plugin(options: list[str]) -> None:
    words = ("call", *COOKIE, *options, "KV.Get", '{"key": "bytes:3"}')
    done = pyplugin(*words, plugin=PYTHON_KV)
    assert (done.status, done.json, done.err) == (0, {"value": "AAAA"}, "")


def test_every_kind_of_value() -> None:
    done = call("Echo/Once", json.dumps(WORDS))
    assert (done.status, done.json) == (0, WORDS)


def test_what_a_terminal_would_obey_is_escaped() -> None:
    text = "\u009b2J \u202eü\x7f"
    done = call("Echo/Once", json.dumps({"text": text}))
    assert '"\\u009b2J \\u202eü\\u007f"' in done.out
    assert done.json == {"text": text}


@pytest.mark.parametrize("text", ["no such time", "no such type"])
def test_an_answer_that_json_has_no_form_for(text: str) -> None:
    done = call("--json", "Echo/Once", json.dumps({"text": text}))
    assert done.status == 64 + 13
    assert done.json["status"] == "INTERNAL"
    assert done.json["details"].startswith("the answer cannot be written as JSON: ")
    assert done.err == ""


def test_method_and_message_at_the_end_of_the_command() -> None:
    done = call(plugin=[*ECHO, "echo.v1.Echo/Once", '{"text": "a"}'])
    assert (done.status, done.json) == (0, {"text": "a"})
    done = call(plugin=[*ECHO, "Other/Once"])
    assert (done.status, done.json) == (0, {"text": "other"})


def test_options_may_stand_anywhere() -> None:
    done = pyplugin("call", "Echo/Once", *COOKIE, '{"text": "a"}', "--no-tls", plugin=ECHO)
    assert (done.status, done.json) == (0, {"text": "a"})


def test_a_message_from_a_file_and_from_stdin(tmp_path: Path) -> None:
    text = '{\n"text":\n"a"}'
    (tmp_path / "message.json").write_text(text)
    assert call("Echo/Once", f"@{tmp_path}/message.json").json == {"text": "a"}
    assert call("Echo/Once", "-", stdin=text).json == {"text": "a"}


def test_metadata_goes_out_and_comes_in() -> None:
    words = ("--json", "--metadata", "X-Text=a=b", "--metadata", "x-data-bin=AAE=", "Echo/Once")
    message, ending = call(*words).jsons
    assert message == {"message": {"text": " x-text=a=b x-data-bin=0001"}}
    assert ending == {
        "status": "OK",
        "code": 0,
        "details": "",
        "initial_metadata": {"x-begun": ["yes"]},
        "trailing_metadata": {"x-ended-bin": ["AAE="]},
    }


def test_descriptors_from_a_file_take_the_place_of_reflection(tmp_path: Path) -> None:
    imports = ["any", "duration", "struct", "timestamp"]
    described = descriptor_pb2.FileDescriptorSet()
    for name in imports:
        module = __import__(f"google.protobuf.{name}_pb2", fromlist=["DESCRIPTOR"])
        module.DESCRIPTOR.CopyToProto(described.file.add())
    file = describe()
    file.service[0].method.add(
        name="Missing", input_type=".echo.v1.Words"
    ).output_type = ".echo.v1.Words"
    described.file.append(file)
    path = tmp_path / "echo.binpb"
    path.write_bytes(described.SerializeToString())
    assert call("--descriptors", str(path), "Echo/Once", json.dumps(WORDS)).json == WORDS
    # What the plugin's own reflection does not know of.
    missing = call("--descriptors", str(path), "Missing")
    assert missing.status == 64 + 12
    assert missing.err.startswith("pyplugin: UNIMPLEMENTED: ")


# Streams


def test_a_stream_of_answers_is_a_line_each() -> None:
    done = call("Count", '{"repeatCount": 3}')
    assert (done.status, done.jsons) == (0, [{"text": str(number)} for number in range(3)])


def test_a_stream_of_messages_is_a_line_each() -> None:
    done = call("Join", stdin='{"text": "a"}\n\n{"text": "b"}\r\n{"text": "c"}')
    assert (done.status, done.json) == (0, {"text": "a+b+c"})


def test_a_large_stream_goes_through_both_ways() -> None:
    texts = [f"{number} {'x' * 1000}" for number in range(2000)]
    done = call("Chat", stdin="".join(f'{{"text": "{text}"}}\n' for text in texts))
    assert done.status == 0
    assert done.jsons == [{"text": text.upper()} for text in texts]


def test_answers_come_while_messages_go() -> None:
    words = command("call", *COOKIE, "--no-tls", "Chat", plugin=ECHO)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("one", "two"):
            process.stdin.write(f'{{"text": "{text}"}}\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == {"text": text.upper()}
        assert process.communicate(timeout=LIMIT) == ("", "")
    assert process.returncode == 0


def test_a_plugin_that_has_heard_enough_ends_the_call() -> None:
    words = command("call", *COOKIE, "--no-tls", "Deaf", plugin=ECHO)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        # Nobody ends its stdin.
        assert json.loads(process.stdout.readline()) == {"text": "goodbye"}
        assert process.wait(LIMIT) == 0


# What goes wrong


def test_a_status_is_told_and_makes_the_exit_status() -> None:
    done = call("Fail")
    assert (done.status, done.out) == (64 + 10, "")
    assert done.err == "pyplugin: ABORTED: as it was asked to\n"
    done = call("Fail", "--json")
    assert (done.status, done.err) == (64 + 10, "")
    assert done.json["status"] == "ABORTED"
    assert (done.json["code"], done.json["details"]) == (10, "as it was asked to")


def test_a_plugin_that_dies_in_the_call() -> None:
    done = call("Fail", '{"text": "exit"}')
    assert (done.status, done.out) == (64 + 14, "")
    assert "UNAVAILABLE" in done.err
    assert "exited with status 7" in done.err


def test_a_call_that_takes_too_long() -> None:
    done = call("Never", "--timeout", "5")
    assert done.status == 64 + 4
    assert done.err == "pyplugin: DEADLINE_EXCEEDED: no answer within 5 s\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["Nothing"], "no method 'Nothing'; it has: echo.v1.Echo/Once, "),
        (["Once"], "'Once' may be any of: echo.v1.Echo/Once, echo.v1.Other/Once"),
        (["Nowhere/Once"], "no method 'Nowhere/Once'"),
        (["Echo/Once", "{"], "message 1 is no echo.v1.Words in JSON"),
        (["Echo/Once", '{"txet": "a"}'], '"txet"'),
        (["Echo/Once", "@/no/such/file"], "'/no/such/file': No such file"),
        (["Echo/Once", "{}", "--metadata", "a"], "--metadata takes KEY=VALUE, not 'a'"),
        (["Echo/Once", "{}", "--metadata", "a-bin=?"], "is no base64"),
        (["Echo/Once", "{}", "--metadata", "grpc-timeout=1S"], "no call can carry this"),
        (["Echo/Once", "{}", "--metadata", "a=ü"], "no call can carry this"),
        (["Echo/Once", "{}", "--descriptors", __file__], "it is no FileDescriptorSet"),
        (["Echo/Once", "{}", "more"], "unrecognized arguments: more"),
    ],
)
def test_what_makes_no_sense(words: list[str], complaint: str) -> None:
    done = call(*words)
    assert (done.status, done.out) == (2, "")
    assert complaint in done.err


def test_a_line_that_is_no_message_ends_the_stream() -> None:
    words = command("call", *COOKIE, "--no-tls", "Chat", plugin=ECHO)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write('{"text": "a"}\nb\n')
        process.stdin.flush()
        assert process.wait(LIMIT) == 2
        assert "message 2 is no echo.v1.Words" in process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_plugin_too(number: signal.Signals) -> None:
    words = command("call", *COOKIE, "Never", plugin=ECHO)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        pid = int(json.loads(process.stdout.readline())["text"])
        assert is_alive(pid)
        process.send_signal(number)
        assert process.communicate(timeout=LIMIT) == ("", "")
    assert process.returncode == 128 + number
    assert not is_alive(pid)
