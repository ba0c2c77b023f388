"""One request to a model, one answer, and the book in which answers are kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sightline.errors import DataError
from sightline.files import remove_unfinished, write_text

# What an answer is: whole, cut off at its limit, refused by the model, or turned down by the endpoint.
Finish = Literal["stop", "length", "refusal", "rejected"]
_FINISHES = ("stop", "length", "refusal", "rejected")


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page image to send.

    Attributes:
        path: the file; not part of the request's identity, its hash is.
        content_hash: SHA-256 of the file.
        pixels: it is made smaller if it has more.
    """

    path: str
    content_hash: str
    pixels: int


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to be continued by the model.

    Attributes:
        system: instructions.
        images: page images, in reading order, before the text.
        text: what is asked of them.
        schema_name, schema: the JSON the answer has to be.
        max_tokens: of the answer.
        earlier: an answer that was no use, and what was said to it.
    """

    system: str
    images: tuple[PageImage, ...]
    text: str
    schema_name: str
    schema: Mapping[str, Any] = field(hash=False)
    max_tokens: int = 2000
    earlier: tuple[str, str] | None = None

    def again(self, answer: str, complaint: str) -> Chat:
        """The conversation with the answer in it and what is wrong with it."""
        return replace(self, earlier=(answer, complaint))

    def longer(self) -> Chat:
        """The same with room for twice as long an answer."""
        return replace(self, max_tokens=2 * self.max_tokens)

    def fingerprint(self, model: str) -> str:
        """Equal for requests that ask the same of the same model, wherever it runs."""
        said = {
            "model": model,
            "system": self.system,
            "images": [[image.content_hash, image.pixels] for image in self.images],
            "text": self.text,
            "schema": [self.schema_name, self.schema],
            "max_tokens": self.max_tokens,
            "earlier": self.earlier,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request.

    Attributes:
        finish: see `Finish`.
        text: the answer; for "refusal" and "rejected" what was given as the reason.
        tokens_in, tokens_out: as the endpoint counted them; 0 where it did not.
    """

    finish: Finish
    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class AnswerBook:
    """Answers on disk by the fingerprint of their requests, so that nothing is paid for twice.

    An answer counts when its line is on the disk. A line that a kill cut off is dropped. `finish` puts the lines
    in order, so that the file does not tell in which order, or how many goes, they came.

    Args:
        path: JSON lines; made with its folder.

    Raises:
        DataError: another process uses it, or a line inside it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._folder)
            raise DataError(f"{path.parent}: another `sightline questions` is at work here") from error
        remove_unfinished(path)
        self._answers: dict[str, Answer] = {}
        try:
            good = self._read() if path.is_file() else 0
        except DataError:
            os.close(self._folder)
            raise
        self._file = path.open("r+b" if path.is_file() else "w+b")
        self._file.truncate(good)
        self._file.seek(good)
        os.fsync(self._folder)

    def _read(self) -> int:
        good = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    values = json.loads(line)
                    answer = Answer(*(values[name] for name in ("finish", "text", "tokens_in", "tokens_out")))
                    if answer.finish not in _FINISHES or not isinstance(answer.text, str):
                        raise ValueError("not an answer")
                    self._answers[values["request"]] = answer
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{self.path}:{number}: damaged ({error}); delete this line") from error
                good += len(line)
        return good

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, fingerprint: str) -> Answer | None:
        """The answer to a request, if it was asked before."""
        return self._answers.get(fingerprint)

    def add(self, fingerprint: str, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns."""
        self._file.write(_line(fingerprint, answer).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._answers[fingerprint] = answer

    def finish(self) -> None:
        """Put the file in order."""
        lines = [_line(name, self._answers[name]) for name in sorted(self._answers)]
        write_text(self.path, "".join(lines))

    def close(self) -> None:
        self._file.close()
        os.close(self._folder)


def _line(fingerprint: str, answer: Answer) -> str:
    values = {
        "request": fingerprint,
        "finish": answer.finish,
        "text": answer.text,
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
    }
    return json.dumps(values) + "\n"
