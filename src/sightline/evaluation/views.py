"""What of a page a model is shown: its text layer, its image, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.evaluation.collection import Exam
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker

View = Literal["both", "text", "image"]

_NEEDED: Mapping[str, tuple[str, ...]] = {"text": ("text",), "image": ("image",), "both": ("text", "image")}


def check_views(encoder: Encoder, views: Sequence[str]) -> None:
    """Refuse views of a page that the encoder cannot take, before anything is computed.

    Raises:
        DataError: naming what the model takes and which `fields` would work.
    """
    for view in views:
        if not encoder.supports(_NEEDED[view]):
            good = [name for name, parts in _NEEDED.items() if encoder.supports(parts)]
            advice = " or ".join(f'fields "{name}"' for name in good) or "another model"
            together = " together" if len(_NEEDED[view]) > 1 else ""
            raise DataError(
                f"the model ({encoder.name_or_path}) takes {', '.join(encoder.modalities)}; it cannot see "
                f'pages as "{view}", which needs {" and ".join(_NEEDED[view])}{together}; use {advice}'
            )


def default_views(encoder: Encoder, exam: Exam | None = None) -> list[Any]:
    """The richest view of a page the encoder takes, of those that there is something to see in.

    Raises:
        DataError: the documents have nothing that the encoder takes.
    """
    for view in ("both", "image", "text"):
        parts = _NEEDED[view]
        if encoder.supports(parts) and (exam is None or all(exam.has(part) for part in parts)):
            return [view]
    raise DataError(
        f"the model ({encoder.name_or_path}) takes {', '.join(encoder.modalities)}; the documents have nothing of it"
    )


def view_of(reranker: Reranker) -> View:
    """The richest view of a page the reranker takes.

    Raises:
        DataError: there is none.
    """
    taken = set(reranker.modalities)
    if {"text", "image"} <= taken:
        return "both"
    if not taken & {"text", "image"}:
        raise DataError(f"the reranker takes {', '.join(taken)}; pages have text and images")
    return "text" if "text" in taken else "image"
