"""`sightline export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[str, typer.Argument(help="Folder or name on the Hub of an embedding model.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder.")],
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            help="Write ONNX graphs, for text encoders and dual encoders (CLIP, SigLIP); needs the extra onnx.",
        ),
    ] = False,
    route: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a composed model (Router) the route to export.")
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Also write each graph with weights of 8 bits, and measure the loss."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a model for programs without torch; each graph is checked against the model before the folder appears.

    The folder also holds the whole checkpoint, the tokenizer's files, and a README with the lines that use it.
    """
    from dataclasses import asdict

    from sightline.cli.console import results, write_json
    from sightline.cli.models import load_model

    if not onnx:
        raise typer.BadParameter("say what to write: --onnx", param_hint="--onnx")
    encoder = load_model(model, "cpu")
    from sightline.export.onnx_folder import export_onnx

    facts = export_onnx(encoder, output, route=route, int8=int8)
    if as_json:
        write_json(asdict(facts))
        return
    console = results()
    for graph in facts.graphs:
        parity = graph.parity
        lengths = f" of {parity.shortest} to {parity.longest} tokens" if parity.longest else ""
        console.print(
            f"written: {output / graph.file}: {graph.modality}s, {graph.dimension} dimensions, "
            f"{graph.bytes / 1e6:,.1f} MB, {graph.precision}; against the model on {parity.inputs} "
            f"{graph.modality}s{lengths}: largest difference {parity.difference:.1e}, "
            f"lowest cosine {parity.cosine:.6f}",
            soft_wrap=True,
            markup=False,
        )
    if facts.left_out:
        console.print(f"left out: {', '.join(facts.left_out)} (no graph takes them)", markup=False)
    console.print(f"How to use it: {output / 'README.md'}", soft_wrap=True, markup=False)
