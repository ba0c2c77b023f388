"""Text recognised on page images, by RapidOCR's PP-OCRv6 models, which come in its wheel (extra ``ocr``).

They read Latin, Chinese and Japanese letters, in print. Runs in worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sightline.documents.records import IngestSettings
from sightline.documents.text import normalise
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL = "pip install 'sightline[ocr]'"
# Address space a worker may use for recognition on top of its limit: ONNX Runtime, OpenCV and three models.
MEMORY_MB = 2560


def installed() -> str:
    """Name and version of the engine, ``""`` where it is not installed."""
    try:
        version("onnxruntime")
        return f"rapidocr {version('rapidocr')}"
    except PackageNotFoundError:
        return ""


def engine_for(settings: IngestSettings) -> str:
    """What `Document.ocr` says of documents that text is recognised in; ``""`` where none is.

    Raises:
        ConfigError: when all pages are to be recognised and nothing is installed that could.
    """
    engine = installed() if settings.ocr != "none" else ""
    if settings.ocr == "all" and not engine:
        raise ConfigError(f"ingest: recognising the text of all pages needs the extra 'ocr': {INSTALL}")
    return f"{settings.ocr}: {engine}" if engine else ""


class PageRecogniser:
    """A `sightline.documents.rawpages.Recogniser` for the pages of one file.

    Args:
        every: look at pages that have a text layer too.
        known: texts by page that an earlier run found in this very file.
        given_up: why no text is looked for, by page; None of them is tried again.
        starting: called with the page number before the engine works, because that takes a while.
    """

    def __init__(
        self,
        *,
        every: bool,
        known: Mapping[int, str],
        given_up: Mapping[int, str],
        starting: Callable[[int], None],
    ) -> None:
        self._every, self._known, self._given_up, self._starting = every, known, given_up, starting

    def wants(self, text: str) -> bool:
        return self._every or not normalise([text])[0]

    def read(self, page: int, render: Callable[[], Image]) -> tuple[str | None, str]:
        if page in self._given_up:
            return None, f"its text was not recognised: that {self._given_up[page]}"
        if page in self._known:
            return self._known[page], ""
        self._starting(page)
        try:
            return recognise(render()), ""
        except Exception as error:  # whatever the engine raises on an odd page, the page itself is good
            cause = " ".join(str(error).split())[-200:]
            return None, f"its text was not recognised ({type(error).__name__}: {cause})"


_ENGINES: list[Any] = []


def recognise(image: Image) -> str:
    """The text on a page image, lines from top to bottom; ``""`` where there is none."""
    import numpy as np

    if not _ENGINES:
        from rapidocr import RapidOCR

        # One thread, because there is a worker per core. Then the result does not depend on the machine either.
        threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
        _ENGINES.append(RapidOCR(params={"Global.log_level": "error", **threads}))
    # An array is taken as OpenCV's order of colours.
    result = _ENGINES[0](np.asarray(image.convert("RGB"))[:, :, ::-1])
    return result.to_markdown() if len(result) else ""
