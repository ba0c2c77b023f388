"""The report's questions beside thumbnails: the worst ones, and those gained and lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from sightline.evaluation.pictures import Pictures
from sightline.evaluation.results import RetrievalResult
from sightline.evaluation.rows import Comparison
from sightline.evaluation.summary import signed

_RETRIEVED_SHOWN = 5
_COMPARED_SHOWN = 3
_WANTED_SHOWN = 2
_PAGE = re.compile(r"(?P<document>.*)#p(?P<page>\d+)", re.DOTALL)


def worst_queries(result: RetrievalResult, count: int, before: RetrievalResult | None = None) -> list[str]:
    """The ``count`` queries of lowest score; of equals, first what ``before`` did better."""
    scores = result.per_query()
    earlier = before.per_query() if before else {}

    def key(qid: str) -> tuple[float, float, float, str]:
        rank = result.first_rank[qid]
        return scores[qid], -earlier.get(qid, 0.0), -(rank if rank else float("inf")), qid

    # What is right at the first rank is no failure, however few there are.
    failed = [qid for qid in scores if scores[qid] < 1]
    return sorted(failed, key=key)[:count]


def moved_queries(comparison: Comparison) -> tuple[list[str], list[str]]:
    """The queries that gained and those that lost, each by the largest change first."""
    old = comparison.before.result.per_query(comparison.metric)
    new = comparison.after.result.per_query(comparison.metric)
    moved = sorted(new, key=lambda qid: (new[qid] - old[qid], qid))
    lost = [qid for qid in moved if new[qid] < old[qid]]
    gained = [qid for qid in reversed(moved) if new[qid] > old[qid]]
    return gained, lost


def query_cards(result: RetrievalResult, qids: Sequence[str], pictures: Pictures) -> str:
    """One card per query: its text, what was wanted, what was retrieved."""
    return "".join(_failed(result, qid, pictures) for qid in qids)


def change_cards(comparison: Comparison, qids: Sequence[str], pictures: Pictures) -> str:
    """One card per query: what was wanted, what came first before, and what comes first after."""
    return "".join(_changed(comparison, qid, pictures) for qid in qids)


def change_rows(comparison: Comparison, qids: Sequence[str]) -> str:
    """One table row per query: its text, its ranks before and after, the difference."""
    return "".join(_change(comparison, qid) for qid in qids)


def page_label(page_id: str) -> str:
    """``report.pdf#p3`` as people say it: ``report.pdf, page 4`` (ids count pages from zero)."""
    document, page = split_page_id(page_id)
    return f"{document}, page {page}" if page else document


def split_page_id(page_id: str) -> tuple[str, int | None]:
    """``report.pdf#p3`` -> ("report.pdf", 4); an id of another form has no page number."""
    found = _PAGE.fullmatch(page_id)
    return (found["document"], int(found["page"]) + 1) if found else (page_id, None)


def _failed(result: RetrievalResult, qid: str, pictures: Pictures) -> str:
    rank = result.first_rank[qid]
    where = f"first right page at rank {rank}" if rank else "no right page retrieved"
    facts = f'<span class="score">{result.per_query()[qid]:.2f}</span> {where}'
    sides = [_wanted(result, qid, pictures), _retrieved("Retrieved", result, qid, pictures, _RETRIEVED_SHOWN)]
    return _card(result.queries[qid], facts, sides)


def _changed(comparison: Comparison, qid: str, pictures: Pictures) -> str:
    before, after = comparison.before, comparison.after
    gap = after.result.per_query(comparison.metric)[qid] - before.result.per_query(comparison.metric)[qid]
    ranks = [_rank(side.result.first_rank[qid]) for side in (before, after)]
    style = "good" if gap > 0 else "bad"
    facts = f'<span class="score {style}">{signed(gap)}</span> rank {ranks[0]} → {ranks[1]}'
    sides = [
        _wanted(after.result, qid, pictures),
        _retrieved(f"Before: {before.label}", before.result, qid, pictures, _COMPARED_SHOWN),
        _retrieved(f"After: {after.label}", after.result, qid, pictures, _COMPARED_SHOWN),
    ]
    return _card(after.result.queries[qid], facts, sides, "change")


def _card(query: str, facts: str, sides: Sequence[str], style: str = "") -> str:
    """A card; the query is plain text, all else is HTML."""
    return (
        f'<article class="query {style}"><header><h3>{escape(query)}</h3><p class="where">{facts}</p></header>'
        f'<div class="sides">{"".join(sides)}</div></article>'
    )


def _wanted(result: RetrievalResult, qid: str, pictures: Pictures) -> str:
    wanted = [docid for docid, gain in result.relevant[qid].items() if gain > 0]
    rank_of = {docid: rank for rank, (docid, _) in enumerate(result.top[qid], 1)}
    shown = sorted(wanted, key=lambda docid: (rank_of.get(docid, 10**9), docid))[:_WANTED_SHOWN]
    few = f" ({len(shown)} of {len(wanted)} pages)" if len(wanted) > len(shown) else ""
    return _side(
        f"Wanted{few}", [_figure(docid, pictures, rank_of.get(docid), right=True) for docid in shown]
    )


def _retrieved(heading: str, result: RetrievalResult, qid: str, pictures: Pictures, number: int) -> str:
    right = {docid for docid, gain in result.relevant[qid].items() if gain > 0}
    return _side(
        heading,
        [
            _figure(docid, pictures, place, right=docid in right)
            for place, (docid, _) in enumerate(result.top[qid][:number], 1)
        ],
    )


def _side(heading: str, figures: Sequence[str]) -> str:
    pages = "".join(figures) or '<p class="more">nothing</p>'
    return f'<section><h4>{escape(heading)}</h4><div class="pages">{pages}</div></section>'


def _figure(page_id: str, pictures: Pictures, rank: int | None, *, right: bool) -> str:
    label = page_label(page_id)
    image = pictures.image(page_id, f"{label}{', a right page' if right else ''}")
    badge = f'<span class="rank"><span class="sr">rank </span>{rank}</span>' if rank else ""
    kind = "page right" if right else "page"
    document, page = split_page_id(page_id)
    caption = f"<b>Page {page}</b> {escape(document)}" if page else escape(document)
    return (
        f'<figure class="{kind}" title="{escape(page_id)}"><div class="sheet">{image}{badge}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _change(comparison: Comparison, qid: str) -> str:
    before, after = comparison.before.result, comparison.after.result
    wanted = sorted(docid for docid, gain in after.relevant[qid].items() if gain > 0)
    more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
    asked = f'{escape(after.queries[qid])}<div class="sub">{escape(page_label(wanted[0]))}{more}</div>'
    ranks = "".join(f'<td class="num">{_rank(side.first_rank[qid])}</td>' for side in (before, after))
    gap = after.per_query(comparison.metric)[qid] - before.per_query(comparison.metric)[qid]
    return f'<tr><td>{asked}</td>{ranks}<td class="num">{signed(gap)}</td></tr>'


def _rank(rank: int | None) -> str:
    return str(rank) if rank else '<span class="none">not found</span>'
