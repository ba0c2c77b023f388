"""The `sightline` command: its subcommands, and what happens when something goes wrong.

A person's mistake ends in one line on stderr and exit code 1 (2 for wrong usage); Ctrl-C in "Interrupted"
and 130; SIGTERM in training, after a checkpoint is saved, in 143. A traceback is shown with `--debug`,
anywhere on the line, or SIGHTLINE_DEBUG=1.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sightline import __version__
from sightline.cli import (
    check,
    compare,
    convert,
    demo,
    evaluate,
    export,
    feedback,
    index,
    ingest,
    mine,
    questions,
    remove,
    report,
    search,
    serve,
    train,
    versions,
)
from sightline.errors import SightlineError, StoppedError

# Typer moved from click to a copy of it; both descend from a ClickException, which carries usage errors.
_PASSING: tuple[type[BaseException], ...] = (
    typer.Exit,
    typer.Abort,
    *(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"),
)


class Commands(TyperGroup):
    """Runs a subcommand and turns what it raises into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _PASSING:
            raise
        except KeyboardInterrupt as stop:
            _fail(str(stop) or "Interrupted", 130)
        except StoppedError as stop:
            _fail(str(stop), 143)
        except BrokenPipeError:
            _drop_stdout()
            sys.exit(1)
        except Exception as error:
            if debugging():
                raise
            _fail(f"Error: {message_of(error)}", 1)


app = typer.Typer(
    name="sightline",
    cls=Commands,
    help="Fine-tune multimodal retrieval models on your own documents, and search with the result.",
    epilog="Start with `sightline demo`, or with `sightline ingest FOLDER -o DATASET`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: it is also what docs/reference/cli.md shows
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["SIGHTLINE_DEBUG"] = "1"
    _set_up_logging()


app.command("demo")(demo.demo)
app.command("ingest")(ingest.ingest)
app.command("questions")(questions.questions)
app.command("mine")(mine.mine)
app.command("check")(check.check)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("convert")(convert.convert)
app.command("export")(export.export)
app.command("index")(index.index)
app.command("versions")(versions.versions)
app.command("remove")(remove.remove)
app.command("search")(search.search)
app.command("serve")(serve.serve)
app.add_typer(feedback.feedback, name="feedback")


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `sightline` command; never returns."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--debug" in options:  # accepted after the subcommand too
        arguments.remove("--debug")
        arguments.insert(0, "--debug")
    try:
        app(args=arguments, prog_name="sightline")
    except SystemExit as leaving:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()
        raise leaving from None


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("SIGHTLINE_DEBUG", "") not in ("", "0")


def message_of(error: Exception) -> str:
    """One readable line for people; what is not their doing says how to see more."""
    if isinstance(error, SightlineError):
        return str(error)
    if isinstance(error, (FileExistsError, NotADirectoryError)) and error.filename:
        return f"{error.filename}: a file stands where a folder is needed; name another place"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:600]} (unexpected; --debug shows the traceback)"


def _fail(message: str, code: int) -> None:
    sys.stdout.flush()
    typer.echo(message, err=True)
    sys.exit(code)


def _drop_stdout() -> None:
    """Point stdout at nothing, so that Python's own flush at exit does not complain about a closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _set_up_logging() -> None:
    """Sightline's own notes go to stderr, one line each; other libraries only speak up with --debug."""
    import logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not debugging():
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("LANCE_LOG", "error")
        os.environ.setdefault("LANCEDB_LOG", "error")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("sightline")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


if __name__ == "__main__":
    main()
