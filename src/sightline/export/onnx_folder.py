"""`sightline export --onnx`: a model as a folder that onnxruntime, Sentence Transformers and others read.

README.md                     what it is, and the lines of Python that use it
modules.json, config.json ... the whole checkpoint, as Sightline and Sentence Transformers load it
tokenizer.json ...            as transformers' AutoTokenizer and AutoImageProcessor load them
onnx/model.onnx               a text encoder: last_hidden_state (N, T, H) and sentence_embedding (N, D)
onnx/text_model.onnx          a dual encoder's towers: text_embeds (N, D), image_embeds (N, D)
onnx/vision_model.onnx
onnx/facts.json               prompts, lengths, inputs and outputs, and how near the graphs are to the model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from sightline.errors import ConfigError
from sightline.export.facts import ExportFacts, WrittenGraph
from sightline.export.graph import outputs_of, quiet, write_graph
from sightline.export.parity import Parity, Session, compare_images, compare_texts, demand
from sightline.export.prepared import TextRules, pixels_of, text_rules, tokens_of
from sightline.export.readme import readme
from sightline.export.towers import Tower, left_out, route_of, towers_of
from sightline.files import new_folder, write_json
from sightline.models.encoder import Encoder
from sightline.models.probes import QUESTION, ROLES, picture

FOLDER = "onnx"
FACTS = "facts.json"
_NEEDS = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(
    encoder: Encoder, folder: str | Path, *, route: str | None = None, int8: bool = False
) -> ExportFacts:
    """Writes a text encoder or a dual encoder as ONNX graphs, beside the checkpoint itself.

    Every graph is loaded by onnxruntime and compared with the model on texts of one word to more than the model
    reads, with its prompts, or on images of several sizes; the folder appears when all of them agree.

    Args:
        encoder: stays as it is; an adapter is merged into what is written.
        folder: a new one.
        route: of a composed model the one to export.
        int8: also write each graph with weights of 8 bits (onnxruntime's dynamic quantization); what that costs is
            measured and told, not judged.

    Raises:
        ConfigError: a model of a kind that is not exported, or the extra ``onnx`` is not installed.
        CheckpointError: a graph cannot be written, or is not the model.
        DataError: there is something at ``folder`` already.
    """
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX export needs {', '.join(missing)}: pip install 'sightline[onnx]'")
    alone = route_of(encoder, route)
    towers_of(alone)
    with new_folder(folder) as aside:
        alone.save_pretrained(aside, merge=True)
        # A copy of its own: in float32 on the CPU, with the attention that is made of plain operators, and in which
        # padding never gives NaN (a row of the "sdpa" graph that sees nothing does).
        copy = Encoder.from_pretrained(
            aside, device="cpu", dtype="float32", model_kwargs={"attn_implementation": "eager"}
        )
        copy.name_or_path = alone.name_or_path
        facts = _write(copy, aside, int8=int8)
        write_json(aside / FOLDER / FACTS, asdict(facts))
        (aside / "README.md").write_text(readme(facts), encoding="utf-8")
    return facts


def _write(encoder: Encoder, folder: Path, *, int8: bool) -> ExportFacts:
    towers = towers_of(encoder)
    (folder / FOLDER).mkdir()
    rules = next((text_rules(tower) for tower in towers if tower.modality == "text"), None)
    written: list[tuple[Tower, WrittenGraph]] = []
    for tower in towers:  # all of them before the first is compared: encoding exchanges the model's operators
        tower.backbone.model.config.use_cache = False
        example = _example(tower, rules)
        path = folder / FOLDER / tower.file
        fixed = rules is not None and rules.padding == "max_length"
        write_graph(tower, example, path, fixed_length=fixed)
        written.append((tower, _unchecked(path, tower, example, fixed_length=fixed)))
    graphs: list[WrittenGraph] = []
    for tower, graph in written:
        path = folder / graph.file
        parity = _compared(encoder, tower, rules, path)
        demand(parity, graph.file)
        graphs.append(replace(graph, parity=parity))
        if int8:
            small = _quantized(path)
            graphs.append(
                replace(
                    graph,
                    file=f"{FOLDER}/{small.name}",
                    bytes=_bytes(small),
                    precision="int8",
                    parity=_compared(encoder, tower, rules, small),
                )
            )
    return ExportFacts(
        graphs=tuple(graphs),
        prompts={role: prompt for role in ROLES if (prompt := encoder.prompt_for(role))},
        text=rules,
        similarity=encoder.similarity_fn_name,
        truncate_dim=encoder.truncate_dim,
        left_out=tuple(left_out(encoder, towers)),
        model=encoder.name_or_path,
    )


def _example(tower: Tower, rules: TextRules | None) -> dict[str, Tensor]:
    """Two items, as axes of one are taken for fixed."""
    if tower.modality == "image":
        return pixels_of(tower, [picture(64, 48), picture(48, 64)])
    assert rules is not None
    return tokens_of(tower, rules, [QUESTION, f"{QUESTION} {QUESTION}"])


def _compared(encoder: Encoder, tower: Tower, rules: TextRules | None, path: Path) -> Parity:
    session = Session(path)
    if tower.modality == "image":
        return compare_images(encoder, tower, session)
    assert rules is not None
    return compare_texts(encoder, tower, rules, session)


def _unchecked(
    path: Path, tower: Tower, example: Mapping[str, Tensor], *, fixed_length: bool
) -> WrittenGraph:
    def axes(value: Tensor) -> list[int | str]:
        later: Sequence[int | str] = value.shape[1:]
        return ["batch", *(["length"] if tower.modality == "text" and not fixed_length else later)]

    return WrittenGraph(
        file=f"{FOLDER}/{path.name}",
        modality=tower.modality,
        inputs={name: axes(value) for name, value in example.items()},
        outputs=outputs_of(tower),
        dimension=_dimension(path, tower.vector),
        bytes=_bytes(path),
        precision="float32",
        parity=Parity(0, 0, 0, float("nan"), float("nan")),
    )


def _dimension(path: Path, output: str) -> int:
    import onnx

    outputs = onnx.load(path, load_external_data=False).graph.output
    shape = next(one for one in outputs if one.name == output).type.tensor_type.shape
    return int(shape.dim[-1].dim_value)


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _quantized(path: Path) -> Path:
    """The same graph with weights of 8 bits, beside it; activations are quantized as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_name(f"{path.stem}_int8.onnx")
    options: dict[str, Any] = {"weight_type": QuantType.QInt8, "per_channel": True}
    with quiet():
        quantize_dynamic(path, small, **options)
    return small
