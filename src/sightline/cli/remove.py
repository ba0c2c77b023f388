"""`sightline remove`."""

from __future__ import annotations

from typing import Annotated

import typer


def remove(
    index: Annotated[str, typer.Argument(help="Folder of the index, or s3://BUCKET/PREFIX.")],
    documents: Annotated[list[str], typer.Argument(metavar="DOCUMENT...", help="Documents to remove.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the index's facts as JSON.")] = False,
) -> None:
    """Remove documents from an index, in a new version; nothing is embedded.

    The version before still has them, for `sightline versions INDEX --use previous`; `--keep 1` there deletes it.
    """
    from sightline.cli.index import show_built
    from sightline.search.index import update_index

    show_built(update_index(index, delete=documents), index, as_json=as_json, opened=True)
