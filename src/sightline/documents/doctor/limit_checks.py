"""How the items, or a reranker's pairs, fit the model: tokens against what it reads, pixels against what it sees.

The model's own processor counts; no weights are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sightline.documents.doctor.contents import Sheet
from sightline.documents.doctor.examined import Examined
from sightline.documents.doctor.findings import Case, Drop
from sightline.errors import SightlineError
from sightline.inputs.pairs import parse_pair
from sightline.inputs.parse import parse
from sightline.types import Features, Item

# Pages with images that are prepared as in training, taken evenly; preparing one takes as long as opening it.
SAMPLE = 48
MANY = 256
# Pairs of texts that are counted, taken evenly: one is tokenized anew for each question that a page stands beside.
PAIRS = 4_096


class Preparing(Protocol):
    """What makes features of items: an encoder's preprocessor."""

    @property
    def max_tokens(self) -> int | None:
        """Tokens a text is cut at."""
        ...

    def __call__(self, item: Item, *, role: str | None = None, prompt: str | None = None) -> Features: ...

    def many(
        self, items: Sequence[Item], *, role: str | None = None, prompt: str | None = None
    ) -> list[Features]: ...


@dataclass
class Limits:
    """A check of items against a model.

    Attributes:
        prepare: the model's preprocessor.
        modalities: what the model reads.
        views: what of a page is shown to it: ``"text"``, ``"image"``, ``"both"``; empty for cells as they are.
        prompts: text put in front by role.
        images: whether pages with images are looked at, a sample of them.
        costs: filled in: tokens and patches of each item that was prepared, by role.
    """

    prepare: Preparing
    modalities: Sequence[str]
    views: Sequence[str] = ()
    prompts: Mapping[str, str | None] = field(default_factory=dict)
    images: bool = True
    costs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def __call__(self, examined: Examined) -> Iterator[Case]:
        yield from self._questions(examined)
        yield from self._texts(examined)
        if self.images:
            yield from self._pictures(examined)
        yield from self._told()

    def _questions(self, examined: Examined) -> Iterator[Case]:
        numbers = [number for number, one in enumerate(examined.contents.asked) if one.query]
        items = [_text(examined.contents.asked[number].query or "") for number in numbers]
        for number, outcome in zip(numbers, self._costs(items, "query"), strict=True):
            one, drop = examined.contents.asked[number], (Drop("question", number),)
            if isinstance(outcome, str):
                yield Case("refused", one.name, outcome, drop)
            elif outcome:
                yield Case("long-question", one.name, f"cut at {self.prepare.max_tokens} tokens", drop)

    def _texts(self, examined: Examined) -> Iterator[Case]:
        if "text" not in self.modalities or (self.views and "text" not in self.views):
            return
        shown = [
            number
            for number, sheet in enumerate(examined.sheets)
            if sheet.text and (self.views or sheet.image is None)
        ]
        items = [_text(examined.sheets[number].text) for number in shown]
        for number, outcome in zip(shown, self._costs(items, "document"), strict=True):
            name = examined.sheets[number].name
            if isinstance(outcome, str):
                yield Case("refused", name, outcome, (Drop("sheet", number),))
            elif outcome:
                yield Case("cut", name, f"its text is cut at {self.prepare.max_tokens} tokens")

    def _costs(self, items: Sequence[Item], role: str) -> Iterator[str | bool]:
        """Of each text whether it is cut, or why it is refused."""
        limit = self.prepare.max_tokens
        for start in range(0, len(items), MANY):
            for cost in self._some(items[start : start + MANY], role):
                if isinstance(cost, str):
                    yield cost
                else:
                    self.costs.setdefault(role, []).append(cost)
                    yield limit is not None and cost[0] >= limit

    def _some(self, items: Sequence[Item], role: str) -> list[tuple[int, int] | str]:
        try:
            made = self.prepare.many(items, role=role, prompt=self.prompts.get(role))
            return [(one.cost.tokens, one.cost.patches) for one in made]
        except SightlineError:  # one by one, the text at fault shows
            return [self._one(item, role) for item in items]

    def _one(self, item: Item, role: str) -> tuple[int, int] | str:
        try:
            cost = self.prepare(item, role=role, prompt=self.prompts.get(role)).cost
        except SightlineError as error:
            return str(error)
        return cost.tokens, cost.patches

    def _pictures(self, examined: Examined) -> Iterator[Case]:
        """Pages as the model sees them: a sample of those that can be opened."""
        view = next((view for view in ("both", "image") if view in self.views), None)
        if "image" not in self.modalities or (self.views and view is None):
            return
        able = [number for number, seen in examined.seen.items() if not seen.picture.error]
        for number in able[:: max(1, len(able) // SAMPLE)][:SAMPLE]:
            sheet = examined.sheets[number]
            outcome = self._one(_item(sheet, view), "document")
            if isinstance(outcome, str):
                yield Case("refused", sheet.name, outcome, (Drop("sheet", number),))
                continue
            self.costs.setdefault("page", []).append(outcome)
            limit = self.prepare.max_tokens
            if limit is not None and outcome[0] >= limit:
                yield Case("cut", sheet.name, f"with its image it is cut at {limit} tokens")

    def _told(self) -> Iterator[Case]:
        """How large the items are."""
        names = {"query": "questions", "document": "texts", "page": "pages (a sample)"}
        for role, costs in self.costs.items():
            yield _size(names[role], costs, self.prepare.max_tokens)


class PreparingPairs(Protocol):
    """What makes features of pairs: a reranker's preprocessor."""

    @property
    def max_tokens(self) -> int | None:
        """Tokens a pair is cut at."""
        ...

    def many(self, pairs: Sequence[Item], *, prompt: str | None = None) -> list[Features]: ...


@dataclass
class PairLimits:
    """A check of a reranker's pairs against it: each question beside the pages that answer it and its negatives.

    Attributes:
        prepare: the model's pair processor.
        modalities: what either side of a pair may hold.
        views: what of a page is shown to it, the first that it reads; empty for cells as they are.
        prompt: text put in front, or the model's instruction.
    """

    prepare: PreparingPairs
    modalities: Sequence[str]
    views: Sequence[str] = ()
    prompt: str | None = None

    def __call__(self, examined: Examined) -> Iterator[Case]:
        asked = examined.contents.asked
        pairs = [
            (number, sheet)
            for number, one in enumerate(asked)
            if one.query
            for sheet in (*one.positives, *one.negatives)
            if self._view(examined, sheet) is not None
        ]
        seeing = any(self._view(examined, sheet) != "text" for _, sheet in pairs)
        most = SAMPLE if seeing else PAIRS
        taken = [pairs[at * len(pairs) // most] for at in range(most)] if len(pairs) > most else pairs
        costs: list[tuple[int, int]] = []
        for start in range(0, len(taken), MANY):
            for pair, outcome in zip(
                some := taken[start : start + MANY], self._some(examined, some), strict=True
            ):
                name = f"{asked[pair[0]].name} with {examined.sheets[pair[1]].name}"
                if isinstance(outcome, str):
                    yield Case("refused", name, outcome, (Drop("question", pair[0]),))
                    continue
                costs.append(outcome)
                limit = self.prepare.max_tokens
                if limit is not None and outcome[0] >= limit:
                    yield Case("cut", name, f"the pair is cut at {limit} tokens")
        if costs:
            sample = f" ({len(taken):,} of {len(pairs):,})" if len(taken) < len(pairs) else ""
            yield _size(f"pairs{sample}", costs, self.prepare.max_tokens)

    def _view(self, examined: Examined, number: int) -> str | None:
        """How a page is shown to the model; None where there is nothing of it to show."""
        sheet = examined.sheets[number]
        seen = examined.seen.get(number)
        able = sheet.image is not None and not (seen is not None and seen.picture.error)
        views = self.views or (("both" if sheet.text else "image") if sheet.image is not None else "text",)
        for view in views:
            if view == "text" and sheet.text and "text" in self.modalities:
                return view
            if view != "text" and able and "image" in self.modalities:
                return view
        return None

    def _some(self, examined: Examined, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int] | str]:
        try:
            items = [self._item(examined, *pair) for pair in pairs]
            made = self.prepare.many(items, prompt=self.prompt)
            return [(one.cost.tokens, one.cost.patches) for one in made]
        except SightlineError as error:  # one by one, the pair at fault shows
            if len(pairs) == 1:
                return [str(error)]
            return [outcome for pair in pairs for outcome in self._some(examined, [pair])]

    def _item(self, examined: Examined, number: int, page: int) -> Item:
        sheet, view = examined.sheets[page], self._view(examined, page)
        document = _text(sheet.text) if view == "text" else _item(sheet, view)
        return parse_pair((_text(examined.contents.asked[number].query or ""), document))


def _size(what: str, costs: Sequence[tuple[int, int]], limit: int | None) -> Case:
    """How large items are: their tokens and patches."""
    tokens, patches = (sorted(column) for column in zip(*costs, strict=True))
    middle, most = len(tokens) // 2, -1
    parts = [f"{tokens[middle]:,} tokens in the middle, {tokens[most]:,} at most"]
    if patches[most]:
        parts.append(f"{patches[middle]:,} patches in the middle, {patches[most]:,} at most")
    if limit is not None:
        parts.append(f"the model reads {limit:,} tokens")
    return Case("size", what, "; ".join(parts))


def reduced(target: Callable[[int, int], tuple[int, int]]) -> Callable[[Examined], Iterator[Case]]:
    """A check that tells which pages a model sees at half their width and height, or smaller.

    Args:
        target: width and height the model's processor makes of an image's.
    """

    def check(examined: Examined) -> Iterator[Case]:
        for number, seen in examined.seen.items():
            width, height = seen.picture.width, seen.picture.height
            if seen.picture.error or not width * height:
                continue
            try:
                columns, rows = target(width, height)
            except ValueError:
                continue  # refused; that is found by preparing it
            if 4 * columns * rows <= width * height:
                message = f"{width} x {height} pixels become {columns} x {rows}"
                yield Case("reduced", examined.sheets[number].name, message)

    return check


def _text(text: str) -> Item:
    return parse({"text": text})


def _item(sheet: Sheet, view: str | None) -> Item:
    """A page in a view; the cell of a table with all it has."""
    assert sheet.image is not None
    image: Any = sheet.image if isinstance(sheet.image, Path) else sheet.image()
    if sheet.text and view != "image":
        return parse({"text": sheet.text, "image": image}, source=sheet.name)
    return parse({"image": image}, source=sheet.name)
