"""The data fingerprint of tables: whether two runs were measured with the same questions and documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from sightline.errors import MediaError


def table_fingerprint(
    questions: Mapping[str, Any], documents: Mapping[str, Any], relevant: Mapping[str, Collection[str]]
) -> str:
    """32 hex digits that change with any question, document or answer; of media the content counts, not the place.

    Args:
        questions: question id -> cell.
        documents: document id -> cell.
        relevant: question id -> ids of the documents that answer it.

    Raises:
        InputError: a cell that is nothing one can embed.
        MediaError: a file that is missing.
    """
    digest = hashlib.sha256()
    for name, value in questions.items():
        digest.update(json.dumps([name, _content(value), sorted(relevant[name])]).encode())
    for name, value in documents.items():
        digest.update(json.dumps([name, _content(value)]).encode())
    return digest.hexdigest()[:32]


def _content(value: Any) -> str:
    from sightline.inputs.parse import parse

    try:
        return parse(value).key
    except MediaError:
        if not isinstance(value, str):
            raise
        # It ends like the name of a file and names none: for a model that reads no such files it is text.
        return parse({"text": value}).key
