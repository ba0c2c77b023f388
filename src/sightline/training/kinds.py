"""Micro-batches of one kind: those that take the same way through a model."""

from __future__ import annotations

from sightline.types import MicroBatch


def kind(micro_batch: MicroBatch) -> str:
    """What micro-batches of one kind, and no others, have in common."""
    facts = {name: value for name, value in micro_batch.features.items() if isinstance(value, str)}
    return repr(sorted(facts.items()))


def kind_and_inputs(micro_batch: MicroBatch) -> str:
    """`kind`, and what the model is given: a message with a page goes through a vision tower, one of text does not."""
    return f"{kind(micro_batch)} {sorted(micro_batch.features)}"
