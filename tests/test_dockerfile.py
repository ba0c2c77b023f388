"""The Dockerfile against the project: what it copies, installs and runs is there, and it runs as nobody special."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

from typer.main import get_command

from sightline.cli.main import app
from sightline.serving.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions(name: str) -> list[str]:
    """The arguments of an instruction, each time it stands there, its lines joined."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return re.findall(rf"^{name} (.*)$", joined, re.M)


def test_what_is_copied_is_there_and_gets_through_dockerignore() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules  # nothing by accident
    taken = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [
        source for line in instructions("COPY") if not line.startswith("--") for source in line.split()[:-1]
    ]
    assert {"pyproject.toml", "src"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in taken, source
    assert taken == set(copied)


def test_what_is_installed_is_what_the_project_asks_for() -> None:
    (version,) = set(re.findall(r"torch==([\d.]+)", TEXT))
    (asked,) = (one for one in PROJECT["dependencies"] if one.startswith("torch"))
    low, high = (tuple(map(int, part.split("."))) for part in re.findall(r"[\d.]+", asked))
    assert low <= tuple(map(int, version.split("."))) < high
    assert f"torch=={version}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    for extra in re.findall(r"\['optional-dependencies'\]\['(\w+)'\]", TEXT):
        assert extra in PROJECT["optional-dependencies"]
    (python,) = (line.partition("=")[2] for line in instructions("ARG") if line.startswith("PYTHON"))
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    assert instructions("FROM") == [
        "python:${PYTHON}-slim-bookworm AS build",
        "python:${PYTHON}-slim-bookworm",
    ]
    (case,) = (line for line in instructions("RUN") if "$DEVICE" in line)
    assert {"cpu)", "cuda)", "*)"} <= set(case.split())


def test_what_runs_is_a_command_of_ours() -> None:
    ((program,),) = (json.loads(line) for line in instructions("ENTRYPOINT"))
    # The health check has a CMD of its own, in the same line.
    (arguments,) = (json.loads(line) for line in instructions("CMD"))
    assert program in PROJECT["scripts"]
    assert arguments[0] in get_command(app).commands  # type: ignore[attr-defined]
    assert arguments[1:] == instructions("VOLUME")


def test_settings_and_health_check_fit_the_service() -> None:
    environment = dict(one.split("=", 1) for line in instructions("ENV") for one in shlex.split(line))
    settings = Settings.read(environment)  # an unknown name is refused
    assert settings.host == "0.0.0.0"
    assert [str(settings.port)] == instructions("EXPOSE")
    (check,) = instructions("HEALTHCHECK")
    code = json.loads(check[check.index("[") :])[2]
    compile(code, "HEALTHCHECK", "exec")
    assert "/healthz" in code
    assert "SIGHTLINE_SERVE_PORT" in code


def test_it_does_not_run_as_root() -> None:
    (user,) = instructions("USER")
    assert int(user) > 0
    assert f"--uid {user} " in " ".join(instructions("RUN"))
    assert not re.search(r"(?i)(token|password|secret|api_key)\s*=", TEXT)
