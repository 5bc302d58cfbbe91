"""The captured environment, and what is taken out of a daemon's own."""

import pytest

from sidecar.sources.environment import Environment, scrub


def test_a_capture_does_not_follow_later_changes() -> None:
    environ = {"OPENAI_API_KEY": "sk-canary"}
    environment = Environment.capture(environ)
    environ.clear()
    assert dict(environment) == {"OPENAI_API_KEY": "sk-canary"}
    assert environment.get("NOT_SET") is None


def test_no_value_shows_by_accident() -> None:
    environment = Environment.capture({"OPENAI_API_KEY": "sk-canary"})
    assert "sk-canary" not in f"{environment!r} {environment} {vars(type(environment))} {environment._values}"


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "PASSWD", "X_APIKEY", "SECRET",
        "gemini_api_key", "OPENAI_API_KEY_2", "CLIENT_SECRETS", "KEYS",
    ],
)  # fmt: skip
def test_a_name_that_promises_a_secret_is_scrubbed(name: str) -> None:
    environ = {name: "sk-canary", "PATH": "/bin"}
    assert scrub(environ) == (name,)
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "CREDENTIALS_DIRECTORY", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_KEY_FILE", "KEYBOARD",
        "MONKEY", "TOKENIZERS_PARALLELISM", "API_KEY_PATH", "HTTPS_PROXY", "NOTIFY_SOCKET",
    ],
)  # fmt: skip
def test_a_name_that_promises_none_stays(name: str) -> None:
    environ = {name: "value"}
    assert scrub(environ) == ()
    assert environ == {name: "value"}


def test_a_scrubbed_process_still_resolves_from_its_capture() -> None:
    environ = {"OPENAI_API_KEY": "sk-canary"}
    environment = Environment.capture(environ)
    scrub(environ)
    assert environment["OPENAI_API_KEY"] == "sk-canary"
