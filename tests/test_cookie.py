from __future__ import annotations

import pytest

from pyplugin.cookie import validate_or_exit
from pyplugin.handshake import HandshakeConfig

CONFIG = HandshakeConfig(1, "COOKIE", "hello")


def refusal(
    config: HandshakeConfig, env: dict[str, str] | None, output: pytest.CaptureFixture[str]
) -> str:
    """What the user reads on stderr when the plugin refuses to run."""
    with pytest.raises(SystemExit) as raised:
        validate_or_exit(config, env=env)
    assert raised.value.code == 1
    captured = output.readouterr()
    assert captured.out == ""
    return captured.err


def test_the_right_cookie_passes_silently(capsys: pytest.CaptureFixture[str]) -> None:
    validate_or_exit(CONFIG, env={"COOKIE": "hello"})
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("env", [{}, {"COOKIE": ""}, {"COOKIE": "Hello"}, {"COOKIE": "hello "}])
def test_a_person_who_runs_a_plugin_is_told_what_it_is(
    env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = refusal(CONFIG, env, capsys)
    assert "This binary is a plugin" in text
    assert "COOKIE" in text
    assert "hello" not in text


@pytest.mark.parametrize(("key", "value"), [("", "hello"), ("COOKIE", ""), ("", "")])
def test_an_author_who_left_the_cookie_empty_is_told_so(
    key: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"COOKIE": value, "": value}
    assert "Misconfigured" in refusal(HandshakeConfig(1, key, value), env, capsys)


def test_the_process_environment_is_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COOKIE", "hello")
    validate_or_exit(CONFIG)
    monkeypatch.delenv("COOKIE")
    assert "plugin" in refusal(CONFIG, None, capsys)


def test_an_empty_mapping_is_not_the_process_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COOKIE", "hello")
    assert "plugin" in refusal(CONFIG, {}, capsys)
