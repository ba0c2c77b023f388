"""The documentation against the code: generated pages are current, names exist, recipes load, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
from pathlib import Path

import pytest

import sightline
from sightline.config.load import load_recipe
from sightline.runs.settings import training_arguments

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_generated_pages_are_current() -> None:
    pages = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["pages"]()
    stale = [path.name for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run `make docs`"


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_are_valid_and_say_how_to_run_them(path: Path) -> None:
    recipe = load_recipe(path)
    head = [line for line in path.read_text(encoding="utf-8").splitlines()[:8] if line.startswith("#")]
    assert any(f"sightline train recipes/{path.name}" in line for line in head)
    # bf16 is refused by transformers where the hardware has none; everything else is checked here.
    assert training_arguments(load_recipe(path, ["training.bf16=unset"])).output_dir.startswith(
        recipe.output.dir
    )


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def public_names() -> set[str]:
    """Every public name of Sentence Transformers: top level, losses, evaluators, modules, utilities."""
    names: set[str] = set()
    rooms = ("sentence_transformer", "cross_encoder", "sparse_encoder", "multi_vector_encoder")
    modules = [
        "",
        ".util",
        *(f".{room}{part}" for room in rooms for part in ("", ".losses", ".evaluation", ".modules")),
    ]
    for module in modules:
        found = importlib.import_module(f"sentence_transformers{module}")
        names |= {name for name in found.__all__ if not name.startswith("_")}
    return names


def test_every_name_of_sentence_transformers_is_mapped() -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.training_args import BatchSamplers, MultiDatasetBatchSamplers

    page = (DOCS / "from-sentence-transformers.md").read_text(encoding="utf-8")
    mentioned = set(re.findall(r"\w+", page))
    methods = {
        name
        for name in dir(SentenceTransformer)
        if not name.startswith("_") and name not in dir(torch.nn.Module) and not name.startswith("old_")
    }
    samplers = {kind.name for kind in (*BatchSamplers, *MultiDatasetBatchSamplers)}
    assert sorted((public_names() | methods | samplers) - mentioned) == []


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_python_in_the_docs_uses_names_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        try:
            ast.parse(block)
        except SyntaxError:
            assert "…" in block or "# Sightline" in block, block  # two columns side by side are not a program
    used = set(re.findall(r"\bsl\.(\w+)", text))
    assert used <= set(sightline.__all__)
