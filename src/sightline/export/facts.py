"""What is said of an exported model, in ``onnx/facts.json`` and in its README."""

from __future__ import annotations

from dataclasses import dataclass

from sightline import __version__
from sightline.export.parity import Parity
from sightline.export.prepared import TextRules


@dataclass(frozen=True)
class WrittenGraph:
    """A graph that was written and checked.

    Attributes:
        file: its path in the folder.
        modality: ``text`` or ``image``.
        inputs: name -> axes: a number, or the name of one that varies.
        outputs: names.
        dimension: D.
        bytes: of the file and its weights.
        precision: ``float32`` or ``int8``.
        parity: with the model.
    """

    file: str
    modality: str
    inputs: dict[str, list[int | str]]
    outputs: tuple[str, ...]
    dimension: int
    bytes: int
    precision: str
    parity: Parity


@dataclass(frozen=True)
class ExportFacts:
    """What stands in ``onnx/facts.json``, so that a program without Sightline knows how to use the graphs.

    Attributes:
        graphs: what was written.
        prompts: by role (``query``, ``document``): stands in front of every text.
        text: how texts are tokenized; None without a text tower.
        similarity: what vectors are compared by.
        truncate_dim: vectors are cut to this many components after the graph, or None.
        left_out: what the model takes and no graph does.
        model: where it came from.
        sightline: the version that wrote it.
    """

    graphs: tuple[WrittenGraph, ...]
    prompts: dict[str, str]
    text: TextRules | None
    similarity: str
    truncate_dim: int | None
    left_out: tuple[str, ...]
    model: str
    sightline: str = __version__
