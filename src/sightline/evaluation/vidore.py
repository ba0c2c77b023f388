"""Folders in ViDoRe's layout: Parquet tables of queries, of a corpus of page images, and of judgments.

    queries/test-00000-of-00001.parquet   query-id, query; perhaps language and more
    corpus/test-00000-of-00001.parquet    corpus-id, image {bytes, path}; perhaps text, doc-id
    qrels/test-00000-of-00001.parquet     query-id, corpus-id, score

So are ViDoRe's second version, the "_beir" datasets of the first, and (with ``_`` for ``-`` in column names) the third.
A folder of the first version, one table of query and image per row, is read too. ``datasets`` loads what is written
here: ``load_dataset(folder, "corpus", split="test")``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from sightline.errors import DataError
from sightline.evaluation.breakdown import FACETS
from sightline.evaluation.collection import Collection
from sightline.files import new_folder

CONFIGS = ("queries", "corpus", "qrels")
_TEXT_COLUMNS = ("text", "markdown", "text_description")
_ROWS = 64


def is_vidore(folder: Path) -> bool:
    """Whether a folder looks like one."""
    return bool(_files(folder, "qrels") or _flat_files(folder))


def read_vidore(folder: str | PathLike[str], media: str | PathLike[str]) -> Collection:
    """A local copy of a dataset in ViDoRe's layout, with every split.

    Args:
        folder: with its Parquet files.
        media: folder where the images are unpacked, each once, named by its content.

    Raises:
        DataError: a file that cannot be read, a column that is missing, or an id that is not there; names file and row.
    """
    folder, media = Path(folder), Path(media)
    if not _files(folder, "qrels"):
        return _read_flat(folder, media)
    corpus: dict[str, dict[str, Any]] = {}
    queries: dict[str, str] = {}
    facets: dict[str, dict[str, str]] = {}
    qrels: dict[str, dict[str, dict[str, float]]] = {}
    documents: dict[str, str] = {}
    for where, row in _rows(_files(folder, "corpus"), required=("corpus-id",), folder=folder / "corpus"):
        docid = _id(row, "corpus-id", where)
        corpus[docid] = _parts(row, where, media)
        if row.get("doc-id"):
            documents[docid] = str(row["doc-id"])
    for where, row in _rows(
        _files(folder, "queries"), required=("query-id", "query"), folder=folder / "queries"
    ):
        qid = _id(row, "query-id", where)
        queries[qid] = _query(row, where)
        for name in FACETS:
            if isinstance(row.get(name), str) and row[name]:
                facets.setdefault(name, {})[qid] = row[name]
    for path in _files(folder, "qrels"):
        judged = qrels.setdefault(_split(path), {})
        for where, row in _rows([path], required=("query-id", "corpus-id", "score"), folder=folder):
            qid, docid = _id(row, "query-id", where), _id(row, "corpus-id", where)
            for what, name, known in (("query", qid, queries), ("document", docid, corpus)):
                if name not in known:
                    raise DataError(f"{where}: the {what} '{name}' is not in the dataset")
            if not isinstance(row["score"], (int, float)):
                raise DataError(f"{where}: the score {row['score']!r} is no number")
            judged.setdefault(qid, {})[docid] = float(row["score"])
            if docid in documents:
                facets.setdefault("document", {}).setdefault(qid, documents[docid])
    return Collection(str(folder.resolve()), queries, corpus, qrels, facets)


def write_vidore(collection: Collection, folder: str | PathLike[str]) -> Path:
    """Writes a folder in ViDoRe's layout, in one step; the layout knows one split.

    Raises:
        DataError: the folder is there already, a document has no image, or there are several splits.
    """
    import pyarrow as pa

    if len(collection.qrels) != 1:
        raise DataError(
            f"{collection.name}: ViDoRe's layout has one split, not {len(collection.qrels)}; name one with --split"
        )

    without = next((docid for docid, parts in collection.corpus.items() if "image" not in parts), None)
    if without is not None:
        raise DataError(
            f"{collection.name}: document '{without}' has no image, which ViDoRe's layout needs; use beir"
        )
    text, titled = pa.string(), any(parts.get("title") for parts in collection.corpus.values())
    image = pa.struct({"bytes": pa.binary(), "path": text})
    kept = [name for name in FACETS if collection.facets.get(name)]
    with new_folder(folder) as aside:
        for split, judged in collection.qrels.items():
            columns = {"corpus-id": text, "image": image, "text": text} | ({"title": text} if titled else {})
            _write(
                _table_path(aside, "corpus", split),
                columns,
                (
                    {
                        "corpus-id": docid,
                        "image": {"bytes": parts["image"].read_bytes(), "path": parts["image"].name},
                        "text": parts.get("text", ""),
                        **({"title": parts.get("title", "")} if titled else {}),
                    }
                    for docid, parts in collection.corpus.items()
                ),
            )
            _write(
                _table_path(aside, "queries", split),
                {"query-id": text, "query": text} | dict.fromkeys(kept, text),
                (
                    {
                        "query-id": qid,
                        "query": collection.queries[qid],
                        **{name: collection.facets[name].get(qid) for name in kept},
                    }
                    for qid in collection.queries
                ),
            )
            _write(
                _table_path(aside, "qrels", split),
                {"query-id": text, "corpus-id": text, "score": pa.float64()},
                (
                    {"query-id": qid, "corpus-id": docid, "score": gain}
                    for qid, gains in judged.items()
                    for docid, gain in gains.items()
                ),
            )
        (aside / "README.md").write_text(_readme(list(collection.qrels)), encoding="utf-8")
    return Path(folder)


def _read_flat(folder: Path, media: Path) -> Collection:
    """The first version's layout: a row per query with its image; rows without a query are only searched."""
    corpus: dict[str, dict[str, Any]] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, dict[str, float]]] = {}
    for path in _flat_files(folder):
        judged = qrels.setdefault(_split(path), {})
        for where, row in _rows([path], required=("query", "image"), folder=folder):
            parts = _parts(row, where, media)
            if "image" not in parts:
                raise DataError(f"{where}: 'image' is missing")
            # One page may be the answer to several queries.
            docid = parts["image"].stem
            corpus.setdefault(docid, parts)
            if row["query"]:
                qid = f"q{len(queries)}"
                queries[qid] = _query(row, where)
                judged[qid] = {docid: 1.0}
    return Collection(str(folder.resolve()), queries, corpus, qrels)


def _files(folder: Path, config: str) -> list[Path]:
    return sorted((folder / config).rglob("*.parquet"))


def _flat_files(folder: Path) -> list[Path]:
    found = sorted([*folder.glob("*.parquet"), *(folder / "data").glob("*.parquet")])
    return [path for path in found if {"query", "image"} <= set(_names(path))]


def _names(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({error})") from error


def _split(path: Path) -> str:
    """``test-00000-of-00001.parquet`` -> ``test``."""
    return path.stem.split("-", 1)[0]


def _rows(
    paths: Sequence[Path], *, required: Sequence[str], folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """``("queries/test.parquet, row 3", {column: value})``, few rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not paths:
        raise DataError(f"{folder}: no Parquet file in it")
    for path in paths:
        shown = f"{path.parent.name}/{path.name}"
        try:
            with pq.ParquetFile(path) as file:
                names = [name.replace("_", "-") for name in file.schema_arrow.names]
                missing = [name for name in required if name.replace("_", "-") not in names]
                if missing:
                    raise DataError(f"{path}: there is no column '{missing[0]}'; it has {', '.join(names)}")
                number = 0
                for batch in file.iter_batches(batch_size=_ROWS):
                    for row in batch.to_pylist():
                        yield f"{shown}, row {number}", {_column(name): value for name, value in row.items()}
                        number += 1
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read ({error})") from error


def _column(name: str) -> str:
    """The spelling of ViDoRe's second version."""
    return {"query_id": "query-id", "corpus_id": "corpus-id", "doc_id": "doc-id"}.get(name, name)


def _id(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row[column]
    if value is None or value == "":
        raise DataError(f"{where}: '{column}' is empty")
    return str(value)


def _query(row: Mapping[str, Any], where: str) -> str:
    text = row["query"]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: 'query' is empty")
    return text


def _parts(row: Mapping[str, Any], where: str, media: Path) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if row.get("title"):
        parts["title"] = str(row["title"])
    text = next((row[name] for name in _TEXT_COLUMNS if isinstance(row.get(name), str) and row[name]), "")
    if text:
        parts["text"] = text
    image = row.get("image")
    if isinstance(image, Mapping) and image.get("bytes"):
        parts["image"] = _unpacked(image["bytes"], str(image.get("path") or ""), media)
    elif image is not None:
        raise DataError(f"{where}: the image is not inside the table; download the dataset with its images")
    if not parts:
        raise DataError(f"{where}: neither an image nor a text")
    return parts


def _unpacked(content: bytes, name: str, media: Path) -> Path:
    """The image as a file, written once."""
    path = media / f"{hashlib.sha256(content).hexdigest()}{Path(name).suffix.lower()}"
    if not path.exists():
        media.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        aside.write_bytes(content)
        os.replace(aside, path)
    return path


def _table_path(folder: Path, config: str, split: str) -> Path:
    (folder / config).mkdir(exist_ok=True)
    return folder / config / f"{split}-00000-of-00001.parquet"


def _write(path: Path, columns: Mapping[str, Any], rows: Iterator[dict[str, Any]]) -> None:
    """A table, a few rows in memory at a time; images are marked so that `datasets` opens them."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {pa.string(): "string", pa.float64(): "float64"}
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": kinds[kind], "_type": "Value"}
        for name, kind in columns.items()
    }
    facts = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema(list(columns.items()), metadata=facts)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        some: list[dict[str, Any]] = []
        for row in rows:
            some.append(row)
            if len(some) == _ROWS:
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
                some = []
        writer.write_table(pa.Table.from_pylist(some, schema=schema))


def _readme(splits: Sequence[str]) -> str:
    lines = ["---", "configs:"]
    for config in CONFIGS:
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*.parquet"]
    return "\n".join([*lines, "---", ""])
