"""The exceptions Sightline raises, as one small tree.

Everything a person can cause (a wrong argument, a broken file, a missing column) is a
`SightlineError` and also a `ValueError`, so ``except ValueError`` keeps working. The command
line prints these as one line; anything else is a bug and shows its traceback.
"""

from __future__ import annotations


class SightlineError(ValueError):
    """Base of every error a person can cause and a person can mend."""


class InputError(SightlineError):
    """A value cannot become an item: wrong type, unknown modality, unreadable content.

    Args:
        message: what is wrong and what to do.
        source: the file, URL or ``row 12, column 'image'`` the value came from.
    """

    def __init__(self, message: str, *, source: str | None = None) -> None:
        self.source = source
        self.cause_text = message
        super().__init__(f"{source}: {message}" if source else message)

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send errors by pickle, which by default replays __init__ with `args`
        # and would put the source in front twice.
        return (_rebuild_input_error, (type(self), self.cause_text, self.source))


class ItemMemoryError(InputError, MemoryError):
    """An item for which memory does not last, even alone."""


class MediaError(InputError):
    """An image, audio or video file is missing, empty, truncated, too large or not media."""


class FetchError(InputError):
    """A URL is refused by the policy or cannot be read."""


class DataError(SightlineError):
    """A dataset, question file or column is wrong; names the file, the row and the column."""


class Problems:
    """What is wrong with a file, collected so that a person mends it once and not line by line."""

    shown = 20

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, where: str, message: str) -> None:
        """Note ``message`` about a place such as ``"questions.jsonl:12"``."""
        self.found.append(f"{where}: {message}")

    def raise_any(self) -> None:
        """Do nothing where nothing is wrong.

        Raises:
            DataError: with the first 20 problems, a line each, and the number of the others.
        """
        if self.found:
            rest = len(self.found) - self.shown
            more = [f"and {rest} more"] if rest > 0 else []
            raise DataError("\n".join([*self.found[: self.shown], *more]))


class CheckpointError(SightlineError):
    """A checkpoint cannot be read or written faithfully."""


class EndpointError(SightlineError):
    """A model behind an HTTP endpoint is unreachable, refuses, or cannot be understood."""


class ConfigError(SightlineError):
    """A recipe, an override or an argument is wrong."""


class SearchIndexError(SightlineError):
    """A search index cannot be opened, or was built with another model."""


class FeedbackError(SightlineError):
    """The feedback store cannot be opened, read or written; what it acknowledged before is kept."""


class TrainingError(SightlineError):
    """A training run cannot start or cannot go on."""


class StoppedError(TrainingError):
    """A run was asked to stop, and has saved a checkpoint to go on from."""


def _rebuild_input_error(kind: type[InputError], message: str, source: str | None) -> InputError:
    return kind(message, source=source)
