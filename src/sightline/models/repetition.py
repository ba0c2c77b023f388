"""Texts that bfloat16 would blur: those of which nearly every token is the same.

A position that looks at two hundred equal tokens looks at two hundred equal keys. The rounding of a score in
bfloat16, which elsewhere averages out over keys that differ, is then the same for all of them and moves the whole
softmax: a line of a table of contents (a word and 220 dots) comes out with a cosine of 0.9987 to its float32 vector,
where other texts have 0.9999 and more.
"""

from __future__ import annotations

from sightline.types import Features, Item

# Shorter texts have too few equal keys to matter.
FEWEST_TOKENS = 32
SHARE = 0.75


def needs_float32(item: Item, features: Features) -> bool:
    """Whether an item is a text that one token fills by more than `SHARE`."""
    tokens_T = features.values.get("input_ids")
    # In a page's tokens the one that stands for the image is repeated; what it stands for is not.
    if tokens_T is None or item.modalities != {"text"} or len(tokens_T) < FEWEST_TOKENS:
        return False
    return int(tokens_T.unique(return_counts=True)[1].max()) > SHARE * len(tokens_T)
