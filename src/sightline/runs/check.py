"""The data doctor on a dataset, a table, or on what a recipe trains on and measures with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.config.recipe import Recipe
from sightline.documents import store
from sightline.documents.dataset import Dataset
from sightline.documents.doctor.checkup import check_contents
from sightline.documents.doctor.cleaning import Cleaning
from sightline.documents.doctor.contents import Contents
from sightline.documents.doctor.examined import Examined
from sightline.documents.doctor.findings import Case, Diagnosis
from sightline.documents.doctor.question_checks import check_text
from sightline.errors import CheckpointError, ConfigError, DataError
from sightline.runs.sources import OpenTable, PageSource, Source, TableSource

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.runs.material import Material

# Names of columns by which a table is read where nobody names them.
QUESTIONS = ("anchor", "query", "question")
ANSWERS = ("positive", "image", "document", "passage", "page", "answer", "context", "text", "pos")
_NEGATIVE = ("negative", "neg")
TRAIN = ("train", "training")
# Findings that `training.on_bad_row = "skip"` takes care of.
SKIPPED_ROWS = ("unreadable", "refused", "label-missing", "missing-page")
LINES = 5

Check = Callable[[Examined], Iterable[Case]]
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Checked:
    """A diagnosis, and what it is of.

    Attributes:
        diagnosis: what was found.
        source: what was examined, which can write a cleaned copy.
        contents: as it was read.
    """

    diagnosis: Diagnosis
    source: Source
    contents: Contents

    def fix(self, output: str | Path) -> Cleaning:
        """Writes a cleaned copy, which has none of the errors and warnings that leaving something out can cure.

        What was taken out stands in its ``removed.jsonl``. A process that is killed leaves nothing at ``output``.

        Raises:
            DataError: there is something at ``output`` already, or it cannot be written.
        """
        cleaning = Cleaning.of(self.contents, self.diagnosis.cases)
        self.source.write_clean(self.contents, cleaning, Path(output))
        return cleaning

    def again(self, output: str | Path, *, workers: int | None = None) -> Checked:
        """The same of the copy that `fix` wrote, the fit to a model aside."""
        source = self.source.moved(Path(output))
        contents, known = source.contents()
        return Checked(check_contents(contents, known=known, workers=workers), source, contents)


def check_data(
    data: str | Path | None = None,
    *,
    recipe: Recipe | None = None,
    columns: Sequence[str] = (),
    estimate: bool = False,
    workers: int | None = None,
    tell: Tell | None = None,
) -> Checked:
    """Looks for what is wrong with a dataset before a model is trained on it.

    Args:
        data: folder of `sightline ingest`, or a table: a folder or file that `datasets` reads. By default what the
            recipe names.
        recipe: also check what it would train on against its model, by the model's own processor and without its
            weights.
        columns: of a table, its columns: the question's, the answer's, then those of other documents and labels.
            By default they are known by their names.
        estimate: of a recipe without errors also load the model and measure a few steps, and tell what all of them
            would take.
        workers: processes that open images; by default one per CPU core.
        tell: called with the number of images looked at since the last call.

    Raises:
        DataError: there is nothing that can be read.
        ConfigError: neither data nor a recipe; the recipe is wrong.
        CheckpointError: the estimate needs the recipe's model, and it cannot be read.
    """
    if recipe is not None:
        if data is not None:
            recipe = replace(recipe, data=replace(recipe.data, dataset=str(data)))
        return _check_recipe(recipe, estimate=estimate, workers=workers, tell=tell)
    if data is None:
        raise ConfigError("give the folder of a dataset, a table, or a recipe with --recipe")
    source = source_of(Path(data), columns)
    contents, known = source.contents()
    diagnosis = check_contents(contents, known=known, workers=workers, tell=tell)
    return Checked(diagnosis, source, contents)


def source_of(path: Path, columns: Sequence[str] = ()) -> Source:
    """What lies at a path: pages, or tables with the columns named, or those known by their names.

    Raises:
        DataError: neither; or a table whose columns are not known.
    """
    try:
        entries = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    ours = bool(entries & {store.HEAD, store.JOURNAL}) or not path.exists() or (path.is_dir() and not entries)
    if ours and not columns:
        return PageSource(Dataset.load(path))
    from sightline.runs.tables import open_all

    tables = {}
    opened = open_all(str(path))
    trained = next((name for name in opened if name.split(".")[0] in TRAIN), next(iter(opened)))
    for name, (rows, subset, split) in opened.items():
        names = list(columns) or known_columns(rows.column_names, f"{path}, {name}")
        missing = [column for column in names if column not in rows.column_names]
        if missing:
            raise DataError(
                f"{path}, {name}: no column {missing[0]!r}; it has {', '.join(rows.column_names)}"
            )
        tables[name] = OpenTable(rows, names, subset, split, is_trained_on=name == trained)
    return TableSource(str(path), tables)


def known_columns(names: Sequence[str], source: str) -> list[str]:
    """The columns of a published table by their names: question, answer, negatives, labels.

    Raises:
        DataError: it has no column of a name that is known for the question, or for the answer.
    """
    from sightline.documents.doctor.table_contents import LABELS

    question = next((name for name in QUESTIONS if name in names), None)
    answer = next((name for name in ANSWERS if name in names and name != question), None)
    if question is None or answer is None:
        raise DataError(
            f"{source}: which column holds the question, and which the document that answers it? It has "
            f"{', '.join(names)}; say it with --columns QUESTION,ANSWER,OTHERS... (a folder of documents "
            "becomes a dataset by `sightline ingest`)"
        )
    negatives = [name for name in names if name.startswith(_NEGATIVE)]
    return [question, answer, *negatives, *(name for name in names if name in LABELS)]


def _check_recipe(recipe: Recipe, *, estimate: bool, workers: int | None, tell: Tell | None) -> Checked:
    from sightline.runs.material import material_of

    material = material_of(recipe)
    checked = _examined(material, [*_text_check(recipe), *_limits(recipe)], workers=workers, tell=tell)
    diagnosis = checked.diagnosis
    if not estimate or stopping(recipe, diagnosis):
        return checked
    from sightline.runs.estimate import estimated

    cases = (*diagnosis.cases, *estimated(recipe, material))
    return replace(checked, diagnosis=replace(diagnosis, cases=cases))


def check_material(recipe: Recipe, material: Material, *, tell: Tell | None = None) -> Checked:
    """What a run would train on and measure with, before its model is loaded."""
    return _examined(material, _text_check(recipe), tell=tell)


def _examined(
    material: Material, further: Sequence[Check], *, workers: int | None = None, tell: Tell | None = None
) -> Checked:
    source = material.source()
    contents, known = source.contents()
    diagnosis = check_contents(contents, known=known, further=further, workers=workers, tell=tell)
    return Checked(diagnosis, source, contents)


def _text_check(recipe: Recipe) -> list[Check]:
    """Pages without text matter where text is all that is shown of a page."""
    shown = {*recipe.trained_fields, *recipe.evaluated_fields}
    return [check_text] if shown == {"text"} and not recipe.data.columns else []


def _limits(recipe: Recipe) -> list[Check]:
    """The checks of items against the recipe's model."""
    from sightline.documents.doctor.limit_checks import Limits, PairLimits, reduced
    from sightline.runs.rerankers import reranker_shape_of

    views = () if recipe.data.columns else (*recipe.trained_fields, *recipe.evaluated_fields)
    try:
        if recipe.model.kind == "reranker":
            reranker = reranker_shape_of(recipe)
            return [PairLimits(reranker.preprocessor, reranker.modalities, views, reranker.prompt_for())]
        encoder = shape_of(recipe)
    except CheckpointError as error:  # the data can be looked at all the same
        case = Case("not-examined", "the model", str(error))
        return [lambda _: [case]]
    prompts = {role: encoder.prompt_for(role) for role in ("query", "document")}
    checks: list[Check] = [Limits(encoder.preprocessor, encoder.modalities, views, prompts)]
    for backbone in encoder.backbones().values():
        if backbone.processor.images is not None:
            checks.append(reduced(backbone.processor.images.target))
    return checks


def shape_of(recipe: Recipe) -> Encoder:
    """The recipe's embedding model without its weights."""
    from sightline.models.encoder import Encoder
    from sightline.models.skeleton import encoder_shape
    from sightline.runs.encoders import loading

    options: dict[str, Any] = {name: value for name, value in loading(recipe).items() if name != "device"}
    config = recipe.model
    if config.routes:
        routes = {name: encoder_shape(path, **options) for name, path in config.routes.items()}
        return Encoder.from_routes(
            routes,
            dim=config.dim,
            fusion=config.fusion,
            prompts=config.prompts,
            default_prompt_name=config.default_prompt_name,
        )
    return encoder_shape(
        config.name,
        multi_vector=config.multi_vector,
        default_prompt_name=config.default_prompt_name,
        **options,
    )


def stopping(recipe: Recipe, diagnosis: Diagnosis) -> str:
    """What stops a run, in a few lines; ``""`` where nothing does."""
    skips = recipe.training.given().get("on_bad_row") == "skip"
    errors = [one for one in diagnosis.errors if not (skips and one.kind in SKIPPED_ROWS)]
    if not errors:
        return ""
    lines = [f"{diagnosis.subject}: {len(errors)} kinds of errors, so training does not start:"]
    lines += [f"  {one.line()} ({one.advice})" for one in errors]
    lines.append(f"All of it: {command(recipe)}. To train anyway: --no-check")
    return "\n".join(lines)


def headlines(recipe: Recipe, diagnosis: Diagnosis) -> list[str]:
    """The warnings of a run in at most five lines."""
    found = [*diagnosis.errors, *diagnosis.warnings]
    if not found:
        return []
    if len(found) <= LINES - 1:
        return [*(one.line() for one in found), f"all of it: {command(recipe)}"]
    shown, left = found[: LINES - 1], len(found) - (LINES - 1)
    return [*(one.line() for one in shown), f"and {left} more kinds: {command(recipe)}"]


def command(recipe: Recipe) -> str:
    """What shows everything that was found."""
    recipe_is_file = Path(recipe.source).is_file()
    return f"sightline check {recipe.data.dataset}" + (f" --recipe {recipe.source}" if recipe_is_file else "")
