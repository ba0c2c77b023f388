"""A retrieval collection: queries, documents and what is relevant, whatever file they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sightline.errors import DataError
from sightline.evaluation.results import Facets, check_relevant

Parts = Mapping[str, Any]
"""Of a document: ``"text"`` (str) and ``"image"`` (Path of an image file), or one of them; perhaps ``"title"``."""


@dataclass(frozen=True)
class Collection:
    """Queries over a corpus, judged for one split or several.

    Attributes:
        name: for headings and files; the folder it was read from, as an absolute path.
        queries: query id -> text.
        corpus: document id -> its parts.
        qrels: split -> query id -> document id -> gain.
        facets: what the queries are told apart by: ``{"kind": {query id: "table"}, ...}``.
        contents: document id -> a hash of its content where one is known already, so that images need not be read.
    """

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, Parts]
    qrels: Mapping[str, Mapping[str, Mapping[str, float]]]
    facets: Facets = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)

    def exam(self, split: str | None = None) -> Exam:
        """The queries of a split, over the whole corpus; the only split where none is named.

        Raises:
            DataError: no such split, or several and none named; or queries and documents that do not belong
                together, see `check_relevant`.
        """
        if split is None and len(self.qrels) == 1:
            split = next(iter(self.qrels))
        if split is None or split not in self.qrels:
            known = ", ".join(self.qrels) or "none"
            asked = "name the split" if split is None else f"there is no split '{split}'"
            raise DataError(f"{self.name}: {asked}; it has {known}")
        judged = self.qrels[split]
        missing = [qid for qid in judged if qid not in self.queries]
        if missing:
            raise DataError(
                f"{self.name}: split '{split}' judges {len(missing)} queries that are not there, e.g. '{missing[0]}'"
            )
        queries = {
            qid: self.queries[qid]
            for qid, gains in judged.items()
            if any(gain > 0 for gain in gains.values())
        }
        relevant = check_relevant(queries, self.corpus, judged)
        facets = {
            name: {qid: values[qid] for qid in queries if qid in values}
            for name, values in self.facets.items()
        }
        return Exam(self.name, split, queries, self.corpus, relevant, facets, self.contents)


@dataclass(frozen=True)
class Exam:
    """What systems are measured with: the questions of one split over the documents that are searched.

    Attributes:
        name, split: for headings and files.
        queries: query id -> text; each has something relevant.
        corpus: document id -> its parts.
        relevant: query id -> document id -> gain.
        facets, contents: as of `Collection`.
    """

    name: str
    split: str
    queries: Mapping[str, str]
    corpus: Mapping[str, Parts]
    relevant: Mapping[str, Mapping[str, float]]
    facets: Facets = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text of each document, with its title in front; empty where it has none."""
        return {docid: _text(parts) for docid, parts in self.corpus.items()}

    def has(self, part: str) -> bool:
        """Whether any document has this part."""
        if part == "text":
            return any(self.texts.values())
        return any(part in parts for parts in self.corpus.values())

    def query_values(self) -> dict[str, Any]:
        """The queries, said to be text: one that reads "logo.png" is no file."""
        return {qid: {"text": text} for qid, text in self.queries.items()}

    def values(self, view: str) -> dict[str, Any]:
        """Each document as an encoder gets it.

        Args:
            view: ``"text"``; ``"image"``; or ``"both"``, where a document without one of them has the other alone.

        Raises:
            DataError: a document has nothing to be seen in this view.
        """
        if view == "text":
            return {docid: {"text": text} for docid, text in self.texts.items()}
        values = {}
        for docid, parts in self.corpus.items():
            value: dict[str, Any] = {"image": parts["image"]} if "image" in parts else {}
            if view == "both" and self.texts[docid]:
                value = {"text": self.texts[docid], **value}
            if not value:
                raise DataError(
                    f"{self.name}: document '{docid}' has no image, so it cannot be seen as \"{view}\"; use text"
                )
            values[docid] = value
        return values

    def thumbnail(self, docid: str) -> Path | None:
        """The image of a document."""
        image = self.corpus.get(docid, {}).get("image")
        return image if isinstance(image, Path) else None

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that change with any question, judgment, or document and its content."""
        digest = hashlib.sha256()
        for qid in sorted(self.queries):
            digest.update(json.dumps([qid, self.queries[qid], sorted(self.relevant[qid].items())]).encode())
        for docid in sorted(self.corpus):
            digest.update(json.dumps([docid, self.contents.get(docid) or self._content(docid)]).encode())
        return digest.hexdigest()[:32]

    @property
    def facts(self) -> dict[str, Any]:
        """For the files: what was asked, of how much, and the fingerprint."""
        documents = set(self.facets.get("document", {}).values())
        return {
            "dataset": self.name,
            "split": self.split,
            "questions": len(self.queries),
            "pages": len(self.corpus),
            **({"documents": len(documents)} if documents else {}),
            "fingerprint": self.fingerprint,
        }

    def _content(self, docid: str) -> str:
        digest = hashlib.sha256(self.texts[docid].encode("utf-8", "surrogatepass"))
        image = self.thumbnail(docid)
        if image is not None:
            digest.update(image.read_bytes())
        return digest.hexdigest()


def _text(parts: Parts) -> str:
    title, text = str(parts.get("title") or ""), str(parts.get("text") or "")
    # As BEIR's own code puts them together.
    return f"{title} {text}".strip() if title else text
