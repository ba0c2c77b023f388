"""Reranking pairs of mixed length: CrossEncoder.predict of Sentence Transformers, defaults, against Reranker.predict.

    python benchmarks/rerank.py [--only classification] [--pairs 2000] [--rounds 5] [--warmups 1]

Pairs are real text: queries of 5 to 20 words, passages of 5 to 400; both models cut them at 512 tokens of MiniLM's
tokenizer, and have random weights.

classification: a BERT of MiniLM's shape (6 layers, 384 wide, 12 heads) with a head for one score.
answer: a small Qwen3 (4 layers, 256 wide, a vocabulary of 30,522), asked through a chat template; the score is the
log-odds of its answering yes (ST: LogitScore).

Both sides read the same files; their scores are compared (1e-5).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import data
import numpy as np
from contest import Contestant, Work, contest

HOME = Path(tempfile.gettempdir()) / "sightline-benchmarks"
QUERY_WORDS = (5, 20)
LIMIT = 1e-5
# Writes every role down, so that it carries a pair.
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def pairs(number: int) -> list[tuple[str, str]]:
    """The same pairs on every run."""
    queries = data.texts(number, lengths=QUERY_WORDS, seed=1)
    return list(zip(queries, data.texts(number), strict=True))


def classification(folder: Path) -> None:
    """Writes a cross-encoder of MiniLM's shape."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

    from sightline.demo.model import minilm_folder

    config = AutoConfig.from_pretrained(minilm_folder(), num_labels=1)
    torch.manual_seed(0)
    # Weights drawn wider than transformers does: the scores would lie so close together that a wrong one would pass.
    config.initializer_range = 0.06
    AutoTokenizer.from_pretrained(minilm_folder(), model_max_length=512).save_pretrained(folder)
    BertForSequenceClassification(config).save_pretrained(folder)


def answer(folder: Path) -> None:
    """Writes a language model with the modules and the template of a reranker."""
    import torch
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from sightline.demo.model import minilm_folder
    from sightline.models.reranker import Reranker

    words = AutoTokenizer.from_pretrained(minilm_folder())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer, model_max_length=512, padding_side="left",
        unk_token="[UNK]", pad_token="[PAD]", eos_token="[SEP]", chat_template=TEMPLATE,
    )  # fmt: skip
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=1024, initializer_range=0.06,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    bare = folder.with_name(folder.name + "-bare")
    tokenizer.save_pretrained(bare)
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(bare)
    Reranker.from_pretrained(bare, device="cpu", head="answer").save_pretrained(folder)
    shutil.rmtree(bare)


MODELS: Mapping[str, Callable[[Path], None]] = {"classification": classification, "answer": answer}


def checkpoint(kind: str) -> Path:
    """The folder of a model, written once."""
    folder = HOME / f"reranker-{kind}"
    if not (folder / "done").is_file():
        MODELS[kind](folder)
        (folder / "done").touch()
    return folder


def theirs(kind: str, number: int) -> Work:
    """CrossEncoder.predict as it comes."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(checkpoint(kind)), device="cpu")
    work = pairs(number)
    return lambda: _facts(model.predict(work), kind, "theirs")


def ours(kind: str, number: int) -> Work:
    """Reranker.predict as it comes."""
    from sightline.models.reranker import Reranker

    model = Reranker.from_pretrained(checkpoint(kind), device="cpu")
    work = pairs(number)
    return lambda: _facts(model.predict(work), kind, "ours")


def _facts(scores: np.ndarray, kind: str, side: str) -> Mapping[str, Any]:
    np.save(checkpoint(kind) / f"{side}.npy", scores)
    return {"mean score": float(scores.mean()), "spread": float(scores.std())}


def run(kind: str, number: int, rounds: int, warmups: int) -> None:
    """The contest on one model, and whether the scores are the same."""
    folder = checkpoint(kind)
    given = {"kind": kind, "number": number}
    contest(
        "rerank" if kind == "classification" else f"rerank_{kind}",
        [
            Contestant("CrossEncoder.predict", theirs, given),
            Contestant("Reranker.predict", ours, given),
        ],
        rounds=rounds,
        warmups=warmups,
    )
    found, wanted = np.load(folder / "ours.npy"), np.load(folder / "theirs.npy")
    difference = float(np.abs(found - wanted).max())
    print(
        f"largest difference of a score: {difference:.1e} (limit {LIMIT:g}); scores spread by {wanted.std():.2f}"
    )
    if difference > LIMIT:
        raise SystemExit("the scores differ")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=tuple(MODELS))
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=1)
    options = parser.parse_args()
    pairs(options.pairs)
    for kind in [options.only] if options.only else MODELS:
        run(kind, options.pairs, options.rounds, options.warmups)


if __name__ == "__main__":
    main()
