"""A question as a request brings it: text, an image, or both, read within the limits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sightline.search.words import clean
from sightline.serving.errors import ApiError
from sightline.serving.inputs import Reader
from sightline.serving.service import Service


@dataclass(frozen=True)
class Question:
    """A question for `Searcher.search`.

    Attributes:
        value: a dict of modalities, never a bare string, which could be taken for a file.
        text: the words, None without.
        image_hash: SHA-256 of the image's file, None without one.
    """

    value: dict[str, Any]
    text: str | None
    image_hash: str | None


async def read_question(service: Service, text: str | None, image: str | None) -> Question:
    """The question that ``text`` and ``image`` (a data URI) are.

    Raises:
        ApiError: 400, neither, or no image that can be read; 413, too long or too large.
    """
    if text is None and image is None:
        raise ApiError(400, "give a query, an image, or both", param="query")
    reader, value, image_hash = Reader(service.settings, "the query"), {}, None
    if text is not None:
        text = clean(str(reader.text(text, "query").value))
        value["text"] = text
    if image is not None:
        part = await service.on_picture_thread(reader.image, image, "image")
        content = part.value
        image_hash = hashlib.sha256(content).hexdigest()
        value["image"] = content
    return Question(value, text, image_hash)
