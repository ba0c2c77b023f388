"""What made questions and mined negatives are worth, on questions by people about documents not seen in training.

    docs/from-pdfs-to-report.sh                    # once, for its pages; stop it after step 2 if only these are wanted
    .venv/bin/python benchmarks/folds.py --pages runs/road/pages [--folds 5] [--epochs 1]

The documents that people asked about are dealt into folds. For each fold a model is trained on all other documents,
three times: on made questions, and on made and people's questions with and without a mined negative for each. Every
question is so asked once of models that have not seen its document, and the differences are over all of them,
resampled by document. Each step is the command a person would run; what is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "folds.json"
RECIPE = Path(__file__).parents[1] / "recipes" / "minilm-text.toml"
ORIGINS = {"made": '["offline"]', "both": '["offline", "person"]'}
NAMES = ("made + negatives", "both", "both + negatives")


def sightline(*arguments: str) -> None:
    """A command of Sightline; ends the script where it fails."""
    print("$ sightline", *arguments, flush=True)
    subprocess.run([str(Path(sys.executable).with_name("sightline")), *arguments], check=True)


def fold_pages(pages: Path, root: Path, documents: Path, splits: dict[str, list[str]]) -> Path:
    """A copy of the dataset with other splits, made questions for the training documents, and mined negatives."""
    copy = root / "pages"
    if (root / "ready").exists():
        return copy
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    shutil.copytree(pages, copy, ignore=shutil.ignore_patterns("negatives.parquet", "questions", "*.journal"))
    (root / "splits.json").write_text(json.dumps(splits))
    asked = [*splits["train"], *splits["test"]]
    questions = [json.loads(line) for line in (documents.parent / "questions.jsonl").read_text().splitlines()]
    kept = [one for one in questions if one["document"] in asked]
    (root / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in kept))
    sightline(
        *("ingest", str(documents), "-o", str(copy), "--questions", str(root / "questions.jsonl")),
        *("--splits", str(root / "splits.json")),
    )
    sightline("questions", str(copy), "--offline", "--per-page", "1")
    (root / "ready").touch()
    return copy


def run_fold(root: Path, pages: Path, model: str, epochs: int) -> dict[str, Any]:
    """The results file of one fold: the untuned model, BM25 and the trained ones."""
    results = root / "results.json"
    if results.exists():
        return dict(json.loads(results.read_text()))
    sightline("mine", str(pages), "--model", model, "--bm25", "--fields", "text", "--negatives", "3")
    systems = [f"untuned=text:{model}", "bm25"]
    for name in NAMES:
        output = root / name.replace(" + ", "-")
        if not (output / "results.json").exists():
            sightline(
                *("train", str(RECIPE), f"model.name={model}", f"data.dataset={pages}"),
                *(f"data.negatives={int('negatives' in name)}", f"data.origins={ORIGINS[name.split()[0]]}"),
                *(f"training.num_train_epochs={epochs}", "training.eval_strategy=no"),
                *("evaluation.bm25=false", "evaluation.untuned=false", f"output.dir={output}"),
            )
        systems.append(f"{name}=text:{output / 'final'}")
    sightline("compare", *systems, "--on", str(pages), "-o", str(results))
    return dict(json.loads(results.read_text()))


def main() -> None:
    """Trains, measures, writes the results."""
    from sightline.demo.model import minilm_folder
    from sightline.evaluation.significance import bootstrap_mean, holm, paired_bootstrap, randomization_test

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pages", type=Path, required=True, help="dataset made by docs/from-pdfs-to-report.sh"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/folds"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()

    documents = arguments.pages.parent / "documents"
    everything = sorted(path.name for path in documents.iterdir())
    lines = (documents.parent / "questions.jsonl").read_text().splitlines()
    asked = sorted({json.loads(line)["document"] for line in lines})
    random.Random(0).shuffle(asked)
    scores: dict[str, dict[str, float]] = {name: {} for name in ("untuned", "bm25", *NAMES)}
    document_of: dict[str, str] = {}
    for fold in range(arguments.folds):
        held_out = asked[fold :: arguments.folds]
        splits = {"train": [name for name in everything if name not in held_out], "test": held_out}
        root = arguments.output / f"fold-{fold}"
        pages = fold_pages(arguments.pages, root, documents, splits)
        found = run_fold(root, pages, str(minilm_folder()), arguments.epochs)
        for row, detail in zip(found["rows"], found["details"], strict=True):
            for question, value in zip(found["questions"], detail["per_query"]["ndcg@10"], strict=True):
                scores[row["name"]][question["id"]] = value
                document_of[question["id"]] = question["facets"]["document"]

    names = sorted(document_of)
    groups = [document_of[name] for name in names]
    values = {system: [of[name] for name in names] for system, of in scores.items()}
    pairs = [("untuned", name) for name in ("bm25", *NAMES)]
    pairs.append(("both", "both + negatives"))
    compared = [paired_bootstrap(values[before], values[after], groups=groups) for before, after in pairs]
    p_values = holm(
        [randomization_test(values[before], values[after], groups=groups) for before, after in pairs]
    )
    print(
        f"\n{len(names)} questions about {len(set(groups))} documents, each asked of models that have not seen it"
    )
    for system, found_Q in values.items():
        whole = bootstrap_mean(found_Q, groups=groups)
        print(f"{system:<18} {whole.mean:.3f}  {whole.low:.3f} to {whole.high:.3f}")
    for (before, after), one, p_value in zip(pairs, compared, p_values, strict=True):
        interval = f"{one.low:+.3f} to {one.high:+.3f}, p = {p_value:.3f}"
        print(f"{before} -> {after}: {one.mean:+.3f} ({interval} after Holm's correction)")
    facts = {"epochs": arguments.epochs, "folds": arguments.folds, "ndcg@10": values, "documents": groups}
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
