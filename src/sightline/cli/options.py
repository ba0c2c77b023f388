"""Options that several commands take, said once."""

from __future__ import annotations

from typing import Annotated

import typer

Dims = Annotated[
    str | None, typer.Option(metavar="N,N,...", help="Also measure at these embedding dimensions.")
]
Precisions = Annotated[
    str,
    typer.Option(
        metavar="P,P,...",
        help="How to keep the vectors, measured at every dimension: float32, float16, int8, binary, "
        "binary+query, binary+int8.",
    ),
]
