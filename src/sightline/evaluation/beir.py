"""Folders in BEIR's layout (Thakur et al. 2021): corpus.jsonl, queries.jsonl, qrels/<split>.tsv.

BEIR knows texts only. Here a document may have an image too: its ``metadata`` then has ``{"image": "images/..."}``, a
file inside the folder, which other readers pass over. What tells questions apart (kind, language ...) stands in the
queries' metadata.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from sightline.errors import DataError, Problems
from sightline.evaluation.breakdown import FACETS
from sightline.evaluation.collection import Collection
from sightline.evaluation.trec import number_text
from sightline.files import new_folder, text_lines

CORPUS, QUERIES, QRELS, IMAGES = "corpus.jsonl", "queries.jsonl", "qrels", "images"
HEADER = ("query-id", "corpus-id", "score")


def is_beir(folder: Path) -> bool:
    """Whether a folder looks like one."""
    return (folder / CORPUS).is_file() and (folder / QUERIES).is_file()


def read_beir(folder: str | PathLike[str]) -> Collection:
    """A folder in BEIR's layout, with every split of its judgments.

    Raises:
        DataError: naming file and line of everything wrong, up to 20 at once.
    """
    folder = Path(folder)
    problems = Problems()
    corpus = _read_corpus(folder, problems)
    queries: dict[str, str] = {}
    facets: dict[str, dict[str, str]] = {}
    for where, record in _records(folder / QUERIES, problems):
        text = record.get("text")
        if not isinstance(text, str) or not text.strip():
            problems.add(where, "'text' is missing or empty")
        elif record["_id"] in queries:
            problems.add(where, f"the id '{record['_id']}' comes a second time")
        else:
            queries[record["_id"]] = text
            for name, value in _metadata(record).items():
                if name in FACETS and isinstance(value, str) and value:
                    facets.setdefault(name, {})[record["_id"]] = value
    files = sorted((folder / QRELS).glob("*.tsv"))
    if not files:
        raise DataError(f"{folder / QRELS}: no file of judgments such as test.tsv")
    qrels = {path.stem: _read_qrels(path, queries, corpus, problems) for path in files}
    problems.raise_any()
    return Collection(str(folder.resolve()), queries, corpus, qrels, facets)


def write_beir(collection: Collection, folder: str | PathLike[str]) -> Path:
    """Writes a folder in BEIR's layout, in one step; images are copied into it.

    Raises:
        DataError: the folder is there already, or an id holds a tab or the end of a line.
    """
    with new_folder(folder) as aside:
        with (aside / CORPUS).open("w", encoding="utf-8") as file:
            for docid, parts in collection.corpus.items():
                metadata = {"image": _copied(parts["image"], aside)} if "image" in parts else {}
                record = {
                    "_id": _plain(docid),
                    "title": parts.get("title", ""),
                    "text": parts.get("text", ""),
                }
                file.write(json.dumps({**record, "metadata": metadata}) + "\n")
        with (aside / QUERIES).open("w", encoding="utf-8") as file:
            for qid, text in collection.queries.items():
                metadata = {name: found[qid] for name, found in collection.facets.items() if found.get(qid)}
                file.write(json.dumps({"_id": _plain(qid), "text": text, "metadata": metadata}) + "\n")
        (aside / QRELS).mkdir()
        for split, judged in collection.qrels.items():
            lines = ["\t".join(HEADER)]
            lines += [
                f"{_plain(qid)}\t{_plain(docid)}\t{number_text(gain)}"
                for qid, gains in judged.items()
                for docid, gain in gains.items()
            ]
            (aside / QRELS / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(folder)


def _read_corpus(folder: Path, problems: Problems) -> dict[str, dict[str, Any]]:
    corpus: dict[str, dict[str, Any]] = {}
    for where, record in _records(folder / CORPUS, problems):
        parts: dict[str, Any] = {}
        for name in ("title", "text"):
            value = record.get(name)
            if value is not None and not isinstance(value, str):
                problems.add(where, f"'{name}' is no text")
            elif value:
                parts[name] = value
        image = _metadata(record).get("image")
        if isinstance(image, str):
            if (folder / image).is_file():
                parts["image"] = folder / image
            else:
                problems.add(where, f"the image '{image}' is not in the folder")
        if record["_id"] in corpus:
            problems.add(where, f"the id '{record['_id']}' comes a second time")
        corpus[record["_id"]] = parts
    return corpus


def _records(path: Path, problems: Problems) -> Any:
    """Where each record stands, and the record; ids are texts."""
    for where, line in text_lines(path, "file of a BEIR folder"):
        try:
            record = json.loads(line)
        except ValueError as error:
            problems.add(where, f"not JSON ({error})")
            continue
        identifier = record.get("_id") if isinstance(record, dict) else None
        if isinstance(identifier, int) and not isinstance(identifier, bool):
            identifier = str(identifier)
        if not isinstance(identifier, str) or not identifier:
            problems.add(where, "'_id' is missing or empty")
            continue
        yield where, {**record, "_id": identifier}


def _metadata(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found = record.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _read_qrels(
    path: Path, queries: Mapping[str, str], corpus: Mapping[str, Any], problems: Problems
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for number, (where, line) in enumerate(text_lines(path, "file of judgments")):
        columns = line.split("\t")
        if number == 0 and columns[-1].strip() == HEADER[-1]:
            continue
        if len(columns) != 3:
            problems.add(where, f"{len(columns)} columns, not 3 with tabs between: {', '.join(HEADER)}")
            continue
        query, document, text = columns
        try:
            gain = float(text)
        except ValueError:
            problems.add(where, f"the score '{text}' is no number")
            continue
        if query not in queries:
            problems.add(where, f"the query '{query}' is not in {QUERIES}")
        elif document not in corpus:
            problems.add(where, f"the document '{document}' is not in {CORPUS}")
        else:
            found.setdefault(query, {})[document] = gain
    return found


def _copied(image: Path, folder: Path) -> str:
    """The image inside the folder, named by its content, so that one image is there once."""
    content = image.read_bytes()
    name = f"{IMAGES}/{hashlib.sha256(content).hexdigest()[:32]}{image.suffix.lower()}"
    if not (folder / name).exists():
        (folder / IMAGES).mkdir(exist_ok=True)
        shutil.copyfile(image, folder / name)
    return name


def _plain(identifier: str) -> str:
    if any(character in identifier for character in "\t\r\n"):
        raise DataError(f"the id {identifier!r} holds a tab or the end of a line, which a TSV file cannot")
    return identifier
