"""Trains a reranker on the demo's training questions, and measures it behind the demo's retriever on the held-out ones.

    make demo && .venv/bin/python benchmarks/rerank_training.py [--epochs 5] [--depths 10 50]

The reranker is the retriever's own text tower with a new head. Its negatives are drawn, anew in each epoch, from the
ten pages that the retriever confuses most with the right one, and from the pages of other questions; no held-out
document is used. The table has the retriever, and the reranker at each depth; the line below says how far
the greatest depth is from the retriever, with the 95% bootstrap interval over whole documents.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

DRAWN_FROM = 10
RESULTS = Path(__file__).parent / "results" / "rerank_training.json"


def triplets(
    found: dict[str, list[tuple[str, float]]], dataset: Any, negatives: int, chance: random.Random
) -> list[dict[str, Any]]:
    """A row per question and right page: its text, and those of wrong pages drawn from the best `DRAWN_FROM`."""
    pages = dataset.corpus("text", "train")
    relevant, queries = dataset.relevant("train"), dataset.queries("train")
    rows = []
    for number, ranked in found.items():
        wrong = [page for page, _ in ranked if page not in relevant[number] and pages[page]][:DRAWN_FROM]
        for right in sorted(relevant[number]):
            if pages[right]:
                drawn = chance.sample(wrong, min(negatives, len(wrong)))
                texts = [pages[page] for page in drawn] + [None] * (negatives - len(drawn))
                row: dict[str, Any] = {"query": queries[number], "positive": pages[right]}
                rows.append(row | {f"negative_{n}": text for n, text in enumerate(texts)})
    chance.shuffle(rows)
    return rows


def main() -> None:
    """Mines, trains, measures, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", default="runs/demo", help="where `make demo` put its dataset and its model")
    parser.add_argument("--output", default="runs/rerank", help="checkpoints and the trained reranker")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument(
        "--negatives", type=int, default=2, help="a question's own, of what the retriever confuses"
    )
    parser.add_argument(
        "--random", type=int, default=3, help="a question's more, of other questions in the batch"
    )
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate")
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 50], help="pages reranked per question")
    parser.add_argument("--tokens", type=int, default=384, help="of a pair at most")
    arguments = parser.parse_args()

    from rich.console import Console

    import sightline as sl
    from sightline.evaluation.rows import compare
    from sightline.evaluation.saved import write_results
    from sightline.evaluation.summary import render_table
    from sightline.runs.evaluate import encoder_row
    from sightline.runs.tandem import shown, tandem_rows

    demo, console = Path(arguments.demo), Console()
    dataset = sl.Dataset.load(demo / "dataset")
    encoder = sl.Encoder.from_pretrained(demo / "final")
    mined = encoder_row(encoder, dataset, "text", "train", name="retriever", keep=20)
    chance = random.Random(0)
    rows = [
        row
        for _ in range(arguments.epochs)
        for row in triplets(mined.result.top, dataset, arguments.negatives, chance)
    ]
    reranker = sl.Reranker.from_pretrained(
        demo / "final" / "text_0_Transformer", processor_kwargs={"model_max_length": arguments.tokens}
    )
    args = sl.TrainingArguments(
        output_dir=arguments.output, num_train_epochs=1, per_device_train_batch_size=4, bf16=True,
        learning_rate=arguments.rate, warmup_ratio=0.1, logging_steps=0.05, save_strategy="no", seed=0,
    )  # fmt: skip
    started = time.monotonic()
    sl.Trainer(reranker, sl.InBatchRanking(negatives=arguments.random), train_dataset=rows, args=args).train()
    seconds = time.monotonic() - started
    reranker.save_pretrained(Path(arguments.output) / "final")

    retriever = encoder_row(encoder, dataset, "text", "test", name="retriever", keep=1000)
    table = [shown(retriever), *tandem_rows(retriever, reranker, dataset, "test", depths=arguments.depths)]
    console.print(render_table(table))
    comparisons = [compare(table[0], row) for row in table[1:]]
    for found in comparisons:
        gap = found.difference
        console.print(
            f"{found.after.name}: {found.metric} {gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), "
            f"p = {found.p_value:.3f}; {found.better} questions better, {found.worse} worse"
        )
    facts = {"arguments": vars(arguments), "rows": len(rows), "training seconds": round(seconds, 1)}
    write_results(table, RESULTS, comparisons=comparisons, facts=json.loads(json.dumps(facts)))
    console.print(f"trained on {len(rows)} rows in {seconds:.0f} s; written: {RESULTS}")


if __name__ == "__main__":
    main()
