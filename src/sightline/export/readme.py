"""README.md of an exported model: what it is, and lines of Python that run as they stand."""

from __future__ import annotations

from sightline.export.facts import ExportFacts, WrittenGraph

_TEXT = """\
tokenizer = AutoTokenizer.from_pretrained(folder)
texts = onnxruntime.InferenceSession(folder / "{file}")


def embed_texts(values, role="document"):
    prompt = {prompts!r}.get(role, "")
    tokens = tokenizer([(prompt + value){lower} for value in values], return_tensors="np", {options})
    return texts.run(["{vector}"], {{one.name: tokens[one.name] for one in texts.get_inputs()}})[0]{cut}
"""
_IMAGE = """\
processor = AutoImageProcessor.from_pretrained(folder)
images = onnxruntime.InferenceSession(folder / "{file}")


def embed_images(values):  # PIL images in RGB
    pixels = processor(images=values, return_tensors="np")["pixel_values"]
    return images.run(["{vector}"], {{"pixel_values": pixels}})[0]{cut}
"""


def readme(facts: ExportFacts) -> str:
    """The text of README.md; its Python defines ``embed_texts`` and ``embed_images``, as far as there are towers."""
    whole = [graph for graph in facts.graphs if graph.precision == "float32"]
    used = {"text": "AutoTokenizer", "image": "AutoImageProcessor"}
    names = sorted(used[graph.modality] for graph in whole)
    blocks = [
        "from pathlib import Path",
        "",
        "import onnxruntime",
        f"from transformers import {', '.join(names)}",
        "",
        'folder = Path(".")  # where this file lies',
        "",
    ]
    for graph in whole:
        blocks.append(_text(facts, graph) if graph.modality == "text" else _image(facts, graph))
    code = "\n".join(blocks).rstrip()
    return "\n".join(
        [
            "# An embedding model as ONNX",
            "",
            f"Written by `sightline export --onnx` (Sightline {facts.sightline}) from "
            f"`{facts.model or 'a model in memory'}`. Vectors are compared by {facts.similarity}.",
            "",
            "| graph | takes | dimensions | MB | weights | largest difference from the model | lowest cosine |",
            "|---|---|---|---|---|---|---|",
            *(_row(graph) for graph in facts.graphs),
            "",
            "The difference is that of a component, in lengths of the vector, over "
            f"{', '.join(_inputs(graph) for graph in whole)}.",
            "",
            "```python",
            code,
            "```",
            "",
            "The folder is also the whole checkpoint: Sightline and Sentence Transformers load it as it is. What else "
            "there is to know (inputs, outputs, prompts, lengths) stands in `onnx/facts.json`.",
            "",
        ]
    )


def _text(facts: ExportFacts, graph: WrittenGraph) -> str:
    rules = facts.text
    assert rules is not None
    arguments = {
        "padding": rules.padding,
        "padding_side": rules.padding_side,
        "truncation": rules.max_tokens is not None,
        **rules.settings,
    }
    return _TEXT.format(
        file=graph.file,
        prompts=facts.prompts,
        lower=".lower()" if rules.lower_case else "",
        options=", ".join(f"{name}={value!r}" for name, value in arguments.items()),
        vector=graph.outputs[-1],
        cut=_cut(facts),
    )


def _image(facts: ExportFacts, graph: WrittenGraph) -> str:
    return _IMAGE.format(file=graph.file, vector=graph.outputs[-1], cut=_cut(facts))


def _cut(facts: ExportFacts) -> str:
    return "" if facts.truncate_dim is None else f"[:, :{facts.truncate_dim}]"


def _row(graph: WrittenGraph) -> str:
    parity = graph.parity
    return (
        f"| `{graph.file}` | {graph.modality}s | {graph.dimension} | {graph.bytes / 1e6:,.1f} | {graph.precision} | "
        f"{parity.difference:.1e} | {parity.cosine:.6f} |"
    )


def _inputs(graph: WrittenGraph) -> str:
    parity = graph.parity
    if graph.modality == "image":
        return f"{parity.inputs} images of several sizes"
    return f"{parity.inputs} texts of {parity.shortest} to {parity.longest} tokens"
