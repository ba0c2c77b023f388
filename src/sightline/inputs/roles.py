"""What a late-interaction model's texts get by their role: a length of their own, query expansion, a template.

ColBERT (Khattab and Zaharia 2020, arXiv:2004.12832) fills every query up with mask tokens, which find documents as
words do: the model reads into them what the query left out. The settings and what they do are those of
sentence-transformers' multi-vector models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase

from sightline.errors import CheckpointError
from sightline.inputs.audio_features import Notices
from sightline.inputs.collate import SEQUENCE_FILL
from sightline.inputs.processor import ItemProcessor
from sightline.types import Cost, Features, Item

Strategy = Literal["fixed", "min"]
# Features this adds: (1,) bool, whether the item is a query; (T,) which positions are expansion tokens.
IS_QUERY = "is_query"
EXPANSION = "expansion_positions"


@dataclass(frozen=True)
class QueryExpansion:
    """How queries are filled up.

    Attributes:
        length: tokens a query has at least.
        strategy: "fixed" cuts longer queries to the length, "min" leaves them.
        attend: whether the query's words see the expansion tokens; those see the words either way.
        token: what it is filled up with; by default the tokenizer's mask token, or its end token.

    Raises:
        CheckpointError: a length below 1, an unknown strategy, ``attend`` that is neither true nor false.
    """

    length: int
    strategy: Strategy = "fixed"
    attend: bool = False
    token: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.length, bool) or not isinstance(self.length, int) or self.length < 1:
            raise CheckpointError(
                f"query expansion needs a length of 1 token or more, not {self.length!r}; ColBERT has 32"
            )
        if self.strategy not in get_args(Strategy):
            raise CheckpointError(
                f"query expansion knows the strategies {', '.join(get_args(Strategy))}, not {self.strategy!r}"
            )
        if not isinstance(self.attend, bool):
            raise CheckpointError(f"attend of query expansion is true or false, not {self.attend!r}")

    def token_id(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """The id queries are filled up with.

        Raises:
            CheckpointError: the tokenizer has no such token.
        """
        if self.token is None:
            known = (tokenizer.mask_token_id, tokenizer.eos_token_id)
            found = next((one for one in known if isinstance(one, int)), None)
            if found is None:
                raise CheckpointError(
                    "query expansion without a token takes the tokenizer's mask token or its end token, but it has "
                    "neither; name one in query_expansion"
                )
            return found
        number = tokenizer.convert_tokens_to_ids(self.token)
        if not isinstance(number, int) or (
            number == tokenizer.unk_token_id and self.token != tokenizer.unk_token
        ):
            raise CheckpointError(f"the tokenizer does not know {self.token!r}, the token of query expansion")
        return number


@dataclass(frozen=True)
class RoleTexts:
    """Limits and expansion of texts by role.

    Attributes:
        query_length: tokens a query is cut at; None for the model's own limit.
        document_length: tokens a document is cut at.
        expansion: of queries, or None.

    Raises:
        CheckpointError: ``query_length`` below the expansion's length.
    """

    query_length: int | None = None
    document_length: int | None = None
    expansion: QueryExpansion | None = None

    def __post_init__(self) -> None:
        length = self.query_length
        if self.expansion is not None and length is not None and length < self.expansion.length:
            raise CheckpointError(
                f"query_length {length} is below the length of query expansion, {self.expansion.length}; "
                "raise it or leave it out"
            )

    @staticmethod
    def from_facts(facts: Mapping[str, Any], where: str) -> RoleTexts:
        """Out of the keys ``query_length``, ``document_length`` and ``query_expansion`` of a backbone file.

        Raises:
            CheckpointError: a value that is not understood; names the file.
        """
        saved = facts.get("query_expansion")
        try:
            expansion = None if saved is None else QueryExpansion(**saved)
            return RoleTexts(facts.get("query_length"), facts.get("document_length"), expansion)
        except TypeError as error:
            raise CheckpointError(
                f"{where}: query_expansion {saved!r} is not understood ({error})"
            ) from error
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from error

    def facts(self) -> dict[str, Any]:
        """The keys of a backbone file; none where nothing is set."""
        found = {
            "query_length": self.query_length,
            "document_length": self.document_length,
            "query_expansion": None if self.expansion is None else asdict(self.expansion),
        }
        return {name: value for name, value in found.items() if value is not None}


class RoleProcessor:
    """An `ItemProcessor` for a late-interaction model: texts by role, and marks that `modules.token_mask` reads.

    Args:
        items: prepares items without regard to their role.
        texts: what the roles get.
        side: where expansion tokens go, as padding would.

    Raises:
        CheckpointError: the tokenizer lacks the expansion's token; the model puts texts into a chat template, which
            cannot be filled up behind.
    """

    def __init__(self, items: ItemProcessor, texts: RoleTexts, side: Literal["left", "right"]) -> None:
        self.items, self.texts, self.side = items, texts, side
        self._expansion_id = 0
        if texts.expansion is not None:
            if items.tokenizer is None or "message" in items.calls:
                raise CheckpointError(
                    "query expansion needs a model whose tokenizer takes plain texts; where texts go into a chat "
                    "template, the template itself may add tokens to queries"
                )
            self._expansion_id = texts.expansion.token_id(items.tokenizer)
        self._by_role = {
            None: items,
            "query": _with(items, "query", self._query_kwargs()),
            "document": _with(items, "document", _limit(items, texts.document_length)),
        }

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        return self.items.tokenizer

    @property
    def notices(self) -> Notices:
        return self.items.notices

    @property
    def max_tokens(self) -> int | None:
        """Tokens an item of any role has at most."""
        limits = [one.max_tokens for one in self._by_role.values()]
        known = [limit for limit in limits if limit is not None]
        return max(known) if len(known) == len(limits) else None

    def __call__(self, item: Item, *, role: str | None = None, prompt: str | None = None) -> Features:
        """As `ItemProcessor`."""
        return self._marked(self._of(role)(item, role=role, prompt=prompt), role)

    def many(
        self, items: Sequence[Item], *, role: str | None = None, prompt: str | None = None
    ) -> list[Features]:
        """As `ItemProcessor.many`."""
        return [self._marked(one, role) for one in self._of(role).many(items, role=role, prompt=prompt)]

    def _of(self, role: str | None) -> ItemProcessor:
        return self._by_role.get(role) or self.items

    def _query_kwargs(self) -> Mapping[str, Any]:
        expansion, length = self.texts.expansion, self.texts.query_length
        if expansion is None:
            return _limit(self.items, length)
        if expansion.strategy == "fixed":
            return {**self.items.processing_kwargs.get("text", {}), "max_length": expansion.length}
        return _limit(self.items, length)

    def _marked(self, features: Features, role: str | None) -> Features:
        values = dict(features.values)
        values[IS_QUERY] = torch.tensor([role == "query"])
        expansion = self.texts.expansion
        if expansion is None or "input_ids" not in values:
            return replace(features, values=values)
        there = values["input_ids"].shape[0]
        missing = max(0, expansion.length - there) if role == "query" else 0
        marks = torch.zeros(there, dtype=torch.long)
        for name in [one for one in values if one in SEQUENCE_FILL]:
            fill = self._expansion_id if name == "input_ids" else SEQUENCE_FILL[name]
            values[name] = self._filled(values[name], missing, fill)
        marks = self._filled(marks, missing, 1)
        values[EXPANSION] = marks
        if expansion.attend:
            values["attention_mask"] = values["attention_mask"] | marks
        cost = Cost(features.cost.tokens + missing, features.cost.patches)
        return replace(features, values=values, cost=cost)

    def _filled(self, value_T: Tensor, count: int, fill: int) -> Tensor:
        return pad(value_T, (0, count) if self.side == "right" else (count, 0), value=fill)


def _limit(items: ItemProcessor, length: int | None) -> Mapping[str, Any]:
    """The text arguments with a limit, which the checkpoint's own ones win over."""
    saved = items.processing_kwargs.get("text", {})
    return saved if length is None else {"max_length": length, **saved}


def _with(items: ItemProcessor, role: str, text: Mapping[str, Any]) -> ItemProcessor:
    """The processor with other text arguments, and with the role for a chat template that asks for it."""
    kwargs = {**items.processing_kwargs, "text": text} if text else dict(items.processing_kwargs)
    if "message" in items.calls and "task" in _template_variables(items.processor.chat_template):
        kwargs["chat_template"] = {"task": role, **items.processing_kwargs.get("chat_template", {})}
    if kwargs == items.processing_kwargs:
        return items
    # What is remembered about prompts and templates depends on the limit.
    return replace(items, processing_kwargs=kwargs, _suffixes={}, _prompts={})


class _Generation(Extension):
    """The block by which chat templates mark what a model has said; only its names matter here."""

    tags = {"generation"}  # noqa: RUF012  (as the base class has it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _template_variables(template: Any) -> frozenset[str]:
    """What a chat template takes from its caller.

    Raises:
        CheckpointError: it is no template.
    """
    if not isinstance(template, str):
        return frozenset()
    environment = ImmutableSandboxedEnvironment(extensions=[_Generation, "jinja2.ext.loopcontrols"])
    try:
        return frozenset(find_undeclared_variables(environment.parse(template)))
    except TemplateError as error:
        raise CheckpointError(f"the checkpoint's chat template cannot be read: {error}") from error
