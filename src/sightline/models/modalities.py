"""What a model takes, found from its processors."""

from __future__ import annotations

from collections.abc import Iterable, Set

from sightline.modules.backbone import Backbone
from sightline.modules.calls import Modality
from sightline.modules.router import RoutingTable
from sightline.types import MODALITIES

# Every single modality; chat messages are one of their own.
KINDS = (*MODALITIES, "message")


def singles(calls: Iterable[Modality]) -> set[str]:
    """The single modalities among calls and their combinations."""
    return {name for call in calls for name in ((call,) if isinstance(call, str) else call)}


def modalities_of(backbones: Iterable[Backbone]) -> tuple[str, ...]:
    """Single modalities that any of the backbones takes, in `KINDS`' order."""
    found = {name for backbone in backbones for name in singles(backbone.modalities)}
    return tuple(name for name in KINDS if name in found)


def takes(backbone: Backbone, wanted: Set[str]) -> bool:
    """Whether a backbone embeds items of one modality, or of several together."""
    calls = backbone.modalities
    call = next(iter(wanted)) if len(wanted) == 1 else tuple(sorted(wanted))
    return call in calls or ("message" in calls and wanted <= singles(calls))


def supports(backbones: Iterable[Backbone], table: RoutingTable | None, wanted: Set[str]) -> bool:
    """Whether items of one modality, or of several together, can be embedded: by a backbone, or fused of several."""
    fused = table is not None and wanted <= set(table.fusion or {})
    return fused or any(takes(backbone, wanted) for backbone in backbones)
