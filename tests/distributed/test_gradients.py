"""Several gloo ranks: the gradients are those of one process on the whole batch, with one reduction per step.

`gradients.py` holds the cases: losses, uneven and empty shares, items on several ranks, a tower that only one rank
runs, accumulation, graphs kept here and embedded again there, running out of memory on one rank; weights replicated
and sharded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.launching import all_well, launch
from support import tiny_models
from support.tiny_rerankers import bert_scores


@pytest.mark.parametrize("ranks", [2, 3])
def test_gradients_are_those_of_one_process(ranks: int) -> None:
    all_well(launch("gradients.py", ranks, "replicated", "sharded", timeout=480))


def test_adapters_and_late_interaction(tmp_path: Path) -> None:
    """Real models: an encoder, token vectors, a reranker, with and without LoRA; replicated, then sharded."""
    tiny_models.bert(tmp_path / "bert", dropout=0.0)
    bert_scores(tmp_path / "scores", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    all_well(launch("model_gradients.py", 2, str(tmp_path), "replicated", "sharded"))
