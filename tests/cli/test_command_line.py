"""What a person meets on the command line besides results: help, messages, exit codes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sightline import __version__
from sightline.cli import main as cli
from sightline.errors import DataError
from support.processes import heed_interrupts

COMMANDS = ("demo", "ingest", "mine", "train", "eval", "compare", "convert", "export", "index", "search")


def sightline(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sightline.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **env},
        timeout=120,
    )


def test_version() -> None:
    done = sightline("--version")
    assert (done.returncode, done.stdout) == (0, f"sightline {__version__}\n")


def test_help_names_every_command() -> None:
    done = sightline("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_help_is_quick() -> None:
    # The only timing in the suite with the import time: the issue promises it. The processor's time, and the best of
    # several runs, so that a busy machine does not decide.
    seconds = []
    for _ in range(5):
        started = children_seconds()
        assert sightline("train", "--help").returncode == 0
        seconds.append(children_seconds() - started)
    assert min(seconds) < 0.5


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    script = (
        "import sys\n"
        "from sightline.cli.main import main\n"
        "try:\n"
        f"    main([{command!r}, '--help'])\n"
        "except SystemExit as leaving:\n"
        "    assert leaving.code == 0\n"
        "heavy = {'torch', 'transformers', 'lancedb', 'pyarrow', 'PIL', 'numpy'}\n"
        "sys.stderr.write(str(sorted(heavy & set(sys.modules))))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ingest", "absent", "-o", "out"),
        ("mine", "absent", "--bm25"),
        ("train", "absent.toml"),
        ("eval", "absent-model", "absent-dataset"),
        ("export", "absent", "--onnx", "-o", "out"),
        ("index", "absent", "-m", "model", "-o", "out"),
        ("search", "absent", "question"),
    ],
)
def test_mistakes_end_in_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = sightline(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "absent" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("ingest",),
        ("train", "--nope"),
        ("nope",),
        ("export", "m", "-o", "o"),
        ("search", "i", "q", "-k", "0"),
    ],
)
def test_wrong_usage_ends_in_2(arguments: tuple[str, ...]) -> None:
    done = sightline(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (("--debug", "train", "x.toml"), {}),
        (("train", "x.toml", "--debug"), {}),
        (("train", "x.toml"), {"SIGHTLINE_DEBUG": "1"}),
    ],
)
def test_debug_shows_the_traceback(arguments: tuple[str, ...], env: dict[str, str], tmp_path: Path) -> None:
    done = sightline(*arguments, cwd=tmp_path, **env)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigError: x.toml: no such recipe" in done.stderr


def run_raising(
    error: BaseException, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Exit code and message of the command line around a command that raises `error`."""
    app = typer.Typer(cls=cli.Commands)
    app.callback()(lambda: None)

    @app.command("go")
    def go() -> None:
        raise error

    monkeypatch.delenv("SIGHTLINE_DEBUG", raising=False)
    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as leaving:
        cli.main(["go"])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("rows 3 and 4: bad"), 1, "Error: rows 3 and 4: bad\n"),
        (KeyboardInterrupt(), 130, "Interrupted\n"),
        (KeyboardInterrupt("Interrupted; go on so"), 130, "Interrupted; go on so\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.bin"),
            1,
            "Error: x.bin: No such file or directory\n",
        ),
        (
            RuntimeError("one\n  two"),
            1,
            "Error: RuntimeError: one two (unexpected; --debug shows the traceback)\n",
        ),
        (typer.Exit(3), 3, ""),
    ],
)
def test_messages_and_codes(
    error: BaseException,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run_raising(error, capsys, monkeypatch) == (code, message)


def test_ctrl_c_while_working(tmp_path: Path) -> None:
    folder, questions = tmp_path / "docs", tmp_path / "questions.jsonl"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    os.mkfifo(questions)
    command = [sys.executable, "-m", "sightline.cli.main", "ingest", str(folder), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "-q", str(questions)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    with open(questions, "w"):  # opens when the command opens it, which then waits for a line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "Interrupted\n")


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    script = f"{sys.executable} -m sightline.cli.main --help | head -c 1 > /dev/null"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file/results.json", "file: a file stands where a folder is needed; name another place"),
        ("folder", "folder is a folder; name a file in it"),
    ],
)
def test_results_that_cannot_be_written_fail_before_the_measuring(
    place: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    done = sightline("eval", "absent-model", "absent-dataset", "-o", place, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {message}\n")
