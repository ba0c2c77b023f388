"""The JSON files of a checkpoint, as dataclasses and two functions that read and write them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sightline.errors import CheckpointError

MODULES = "modules.json"
MODEL = "config_sentence_transformers.json"
SIGHTLINE = "sightline.json"
ROUTER = "router_config.json"
# ST's names of what a checkpoint is; the first where it does not say.
EMBEDDER = "SentenceTransformer"
MULTI_VECTOR = "MultiVectorEncoder"
RERANKER = "CrossEncoder"
# Names ST 2 gave the backbone's own file, by architecture.
BACKBONE_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)


@dataclass(frozen=True)
class ModuleEntry:
    """One line of ``modules.json``: where a part lies and which class wrote it (data, never imported)."""

    idx: int
    name: str
    path: str
    type: str

    def folder(self, root: Path) -> Path:
        """The part's folder.

        Raises:
            CheckpointError: the path leaves the checkpoint.
        """
        return inside(root, self.path)


@dataclass
class ModelFacts:
    """``config_sentence_transformers.json``: what holds for the model as a whole.

    Similarity and truncation are an embedder's, the activation (a class path) is a reranker's.
    """

    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: int | None = None
    model_type: str = EMBEDDER
    activation_fn: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str = MODEL) -> ModelFacts:
        prompts = data.get("prompts") or {}
        if not isinstance(prompts, dict):
            raise CheckpointError(
                f"{where}: prompts is a {type(prompts).__name__}, not an object of name to text"
            )
        return cls(
            prompts={name: text for name, text in prompts.items() if text is not None},
            default_prompt_name=data.get("default_prompt_name"),
            similarity_fn_name=data.get("similarity_fn_name"),
            truncate_dim=data.get("truncate_dim"),
            model_type=data.get("model_type", EMBEDDER),
            activation_fn=data.get("activation_fn"),
            versions=data.get("__version__", {}),
        )

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "__version__": self.versions,
            "default_prompt_name": self.default_prompt_name,
            "model_type": self.model_type,
            "prompts": self.prompts,
        }
        if self.model_type == RERANKER:
            return data | {"activation_fn": self.activation_fn}
        data["similarity_fn_name"] = self.similarity_fn_name
        return data | ({"truncate_dim": self.truncate_dim} if self.truncate_dim is not None else {})


def inside(root: Path, relative: str) -> Path:
    """``root / relative``, refused when it would leave ``root``.

    Raises:
        CheckpointError: an absolute path or one with ``..``.
    """
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or "\\" in relative:
        raise CheckpointError(f"{root}: the path {relative!r} leads out of the checkpoint")
    return root / pure


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        CheckpointError: missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from error


def read_facts(path: Path) -> dict[str, Any]:
    """A JSON object, or ``{}`` when the file does not exist.

    Raises:
        CheckpointError: not a JSON object.
    """
    if not path.is_file():
        return {}
    data = read_json(path)
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found a {type(data).__name__}")
    return data


def read_modules(root: Path) -> list[ModuleEntry]:
    """The entries of ``modules.json`` in order.

    Raises:
        CheckpointError: the file is not a list of entries with ``type`` and ``path``.
    """
    data = read_json(root / MODULES)
    if not isinstance(data, list) or not all(
        isinstance(one, dict) and {"type", "path"} <= set(one) for one in data
    ):
        raise CheckpointError(f"{root / MODULES}: expected a list of modules with a type and a path each")
    return [
        ModuleEntry(number, str(one.get("name", number)), str(one["path"]), str(one["type"]))
        for number, one in enumerate(data)
    ]


def part_folders(root: Path) -> set[str]:
    """Names of the folders in ``root`` that hold the parts of its model."""
    paths = [entry.path for entry in read_modules(root)] if (root / MODULES).is_file() else []
    paths += read_facts(root / ROUTER).get("types", {})
    return {PurePosixPath(path).parts[0] for path in paths if path}


def finish_replacement(folder: Path) -> None:
    """Completes a replacement of ``folder`` that was cut off between its two renames (see `write`)."""
    if folder.exists():
        return
    folder = folder.resolve()
    old, new = replacement_paths(folder)
    if old.is_dir() and new.is_dir():
        os.replace(new, folder)


def replacement_paths(folder: Path) -> tuple[Path, Path]:
    """Where the old content of ``folder`` goes while it is replaced, and where the new one is written."""
    return folder.with_name(f".{folder.name}.old"), folder.with_name(f".{folder.name}.writing")


def dims_to_json(dims: Sequence[int]) -> dict[str, Any]:
    """What ``sightline.json`` says of the prefixes that Matryoshka training made good; nothing where there are none."""
    return {"matryoshka_dims": list(dims)} if dims else {}


def dims_from_json(own: Mapping[str, Any]) -> tuple[int, ...]:
    """The prefixes, widest first.

    Raises:
        CheckpointError: they are no whole numbers above 0.
    """
    dims = own.get("matryoshka_dims", [])
    if not isinstance(dims, list) or not all(type(dim) is int and dim > 0 for dim in dims):
        raise CheckpointError(f"{SIGHTLINE}: matryoshka_dims must be whole numbers above 0, not {dims!r}")
    return tuple(sorted(set(dims), reverse=True))
