"""Media in the columns of `datasets`, left as files and bytes until a worker process opens them.

A column may hold media by themselves, in lists, and in structs (mixed pages, chat messages), to any depth. What
`datasets` decodes while it reads a row would be decoded in the wrong process, and a broken file would be an error of
the whole row, without its column.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import datasets
from datasets.fingerprint import Hasher

MEDIA = (datasets.Image, datasets.Audio, datasets.Video)


def undecoded(dataset: Any) -> Any:
    """A `datasets.Dataset` or `IterableDataset` of known features whose media are left as files and bytes.

    Cells then hold ``{"bytes": ..., "path": ...}`` where they held a decoded medium.
    """
    dataset = dataset.with_format(None)
    if isinstance(dataset, datasets.IterableDataset):
        return dataset.decode(False)
    within: dict[str, Any] = {}
    for column, feature in dataset.features.items():
        if isinstance(feature, MEDIA):
            dataset = dataset.cast_column(column, closed(feature))
        elif holds_media(feature):
            within[column] = closed(feature)
    if not within:
        return dataset
    # A cast of a nested column writes the whole table anew, though no byte of it differs.
    told = copy.deepcopy(dataset)
    for column, feature in within.items():
        told.info.features[column] = feature
    told._fingerprint = Hasher.hash([dataset._fingerprint, "undecoded", sorted(within)])
    return told


def holds_media(feature: Any) -> bool:
    """Whether a column of a feature, or something in its lists and structs, is an image, audio or video."""
    if isinstance(feature, Mapping):
        return any(holds_media(one) for one in feature.values())
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        return holds_media(feature.feature)
    return isinstance(feature, MEDIA)


def closed(feature: Any) -> Any:
    """The feature of the same data, whose media are not decoded."""
    if isinstance(feature, Mapping):
        return {name: closed(one) for name, one in feature.items()}
    if isinstance(feature, datasets.List):
        return datasets.List(closed(feature.feature), length=feature.length)
    if isinstance(feature, datasets.LargeList):
        return datasets.LargeList(closed(feature.feature))
    return replace(feature, decode=False) if isinstance(feature, MEDIA) else feature
