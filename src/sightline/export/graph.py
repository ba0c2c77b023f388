"""A tower as an ONNX file, through torch's exporter.

Shape letters: N items, T tokens, H hidden dimension, D components of a vector.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from sightline.errors import CheckpointError
from sightline.export.towers import Tower
from sightline.modules.heads import POOLED

# transformers, Optimum and text-embeddings-inference know the hidden states by this name.
TOKENS = "last_hidden_state"
# The oldest with every operator the exporter writes (LayerNormalization came with 17).
OPSET = 18
# A protobuf file holds 2 GiB; larger weights lie beside it, under the name the Hub's tools look for.
INLINE_BYTES = 1_800_000_000
WEIGHTS = "{name}_data"


class Graph(nn.Module):
    """A tower as a function of tensors alone.

    Args:
        tower: its backbone runs with transformers' own operators, as ours are no part of ONNX.
        names: of the inputs, in the order they are given.
    """

    def __init__(self, tower: Tower, names: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = tower.backbone
        self.rest = nn.ModuleList(tower.rest)
        self.tower, self.names = tower, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Hidden states (N, T, H) and vectors (N, D), or the vectors alone, of the named inputs."""
        arguments = dict(zip(self.names, inputs, strict=True))
        value = self.backbone.plain(self.tower.call, arguments)
        features = {self.backbone.table.writes: value, **arguments}
        for part in self.rest:
            features = part(features)
        return (value, features[POOLED]) if self.tower.tokens else (features[POOLED],)


def outputs_of(tower: Tower) -> tuple[str, ...]:
    """Names of a graph's outputs in order."""
    return (TOKENS, tower.vector) if tower.tokens else (tower.vector,)


def write_graph(tower: Tower, example: Mapping[str, Tensor], path: Path, *, fixed_length: bool) -> None:
    """Writes one graph, whose batch is of any size and whose texts are of any length.

    Args:
        tower: in float32, on the CPU, with plain attention.
        example: prepared inputs of two items at least, of which names and shapes are taken.
        path: the file; weights of more than 1.8 GB lie beside it.
        fixed_length: texts are always of the example's length, as some models were trained.

    Raises:
        CheckpointError: the exporter cannot follow this model; says where it stopped.
    """
    import onnx_ir

    names = tuple(example)
    text = tower.modality == "text"
    dynamic = {0: "batch"} | ({1: "length"} if text and not fixed_length else {})
    graph = Graph(tower, names).eval()
    try:
        with torch.inference_mode(False), torch.no_grad(), quiet():
            program = torch.onnx.export(
                graph,
                tuple(example.values()),
                dynamo=True,
                input_names=list(names),
                output_names=list(outputs_of(tower)),
                dynamic_shapes={"inputs": tuple(dynamic for _ in names)},
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever stops it, and its text is pages long
        cause = error.__cause__ or error
        kind = tower.backbone.model.config.model_type
        said = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise CheckpointError(
            f"torch cannot write the {tower.modality} tower of this {kind} as an ONNX graph: {said[:300]}"
        ) from error
    assert program is not None
    size = sum(value.numel() * value.element_size() for value in graph.state_dict().values())
    beside = WEIGHTS.format(name=path.name) if size > INLINE_BYTES else None
    onnx_ir.save(program.model, path, external_data=beside)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of exporter and quantizer on their own insides (operators of libraries that are not here)."""
    # None is the root, to which onnxruntime's quantizer writes.
    loggers = [
        logging.getLogger(name) for name in (None, "torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
