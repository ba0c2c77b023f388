"""The report's questions: the worst ones beside thumbnails, and those gained and lost."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path

from sightline.evaluation.results import RetrievalResult
from sightline.evaluation.rows import Comparison
from sightline.evaluation.summary import signed

Thumbnails = Callable[[str], Path | None]

_SIZE = (220, 300)
_RETRIEVED_SHOWN = 5
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


def query_cards(result: RetrievalResult, qids: list[str], thumbnails: Thumbnails | None) -> str:
    """One card per query: its text, what was wanted, what was retrieved."""
    picture = _pictures(thumbnails)
    return "".join(_card(result, qid, picture) for qid in qids)


def changes(comparison: Comparison, count: int) -> tuple[str, str]:
    """Table rows of the queries that gained most and lost most, each with its ranks before and after."""
    old = comparison.before.result.per_query(comparison.metric)
    new = comparison.after.result.per_query(comparison.metric)
    moved = sorted(new, key=lambda qid: (new[qid] - old[qid], qid))
    lost = [qid for qid in moved if new[qid] < old[qid]][:count]
    gained = [qid for qid in reversed(moved) if new[qid] > old[qid]][:count]
    return "".join(_change(comparison, qid) for qid in gained), "".join(
        _change(comparison, qid) for qid in lost
    )


def page_label(page_id: str) -> str:
    """``report.pdf#p3`` as people say it: ``report.pdf, page 4`` (ids count pages from zero)."""
    document, page = split_page_id(page_id)
    return f"{document}, page {page}" if page else document


def split_page_id(page_id: str) -> tuple[str, int | None]:
    """``report.pdf#p3`` -> ("report.pdf", 4); an id of another form has no page number."""
    found = _PAGE.fullmatch(page_id)
    return (found["document"], int(found["page"]) + 1) if found else (page_id, None)


def thumbnail_uri(path: Path, size: tuple[int, int] = _SIZE) -> str | None:
    """The image as a small JPEG data URI; None where the file cannot be read as an image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft("RGB", size)  # JPEGs are decoded at the nearest smaller scale
            image.thumbnail(size)
            flat = Image.new("RGB", image.size, "white")
            rgba = image.convert("RGBA")
            flat.paste(rgba, mask=rgba.getchannel("A"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _pictures(thumbnails: Thumbnails | None) -> Callable[[str], str | None]:
    @cache
    def picture(page_id: str) -> str | None:
        path = thumbnails(page_id) if thumbnails else None
        return thumbnail_uri(path) if path else None

    return picture


def _card(result: RetrievalResult, qid: str, picture: Callable[[str], str | None]) -> str:
    wanted = [docid for docid, gain in result.relevant[qid].items() if gain > 0]
    rank_of = {docid: rank for rank, (docid, _) in enumerate(result.top[qid], 1)}
    rank = result.first_rank[qid]
    where = f"first right page at rank {rank}" if rank else "no right page retrieved"
    shown = sorted(wanted, key=lambda docid: (rank_of.get(docid, 10**9), docid))[:_WANTED_SHOWN]
    few = f" ({len(shown)} of {len(wanted)} pages)" if len(wanted) > len(shown) else ""
    left = "".join(_figure(docid, picture, rank_of.get(docid), right=True) for docid in shown)
    right = "".join(
        _figure(docid, picture, place, right=docid in wanted)
        for place, (docid, _) in enumerate(result.top[qid][:_RETRIEVED_SHOWN], 1)
    )
    right = right or '<p class="more">nothing</p>'
    return (
        f'<article class="query"><header><h3>{escape(result.queries[qid])}</h3>'
        f'<p class="where"><span class="score">{result.per_query()[qid]:.2f}</span> {where}</p></header>'
        f'<div class="sides"><section><h4>Wanted{few}</h4><div class="pages">{left}</div></section>'
        f'<section><h4>Retrieved</h4><div class="pages">{right}</div></section>'
        "</div></article>"
    )


def _figure(page_id: str, picture: Callable[[str], str | None], rank: int | None, *, right: bool) -> str:
    uri = picture(page_id)
    image = f'<img src="{uri}" alt="">' if uri else '<div class="blank">no picture</div>'
    badge = f'<span class="rank">{rank}</span>' if rank else ""
    kind = "page right" if right else "page"
    document, page = split_page_id(page_id)
    label = f"<b>Page {page}</b> {escape(document)}" if page else escape(document)
    return (
        f'<figure class="{kind}" title="{escape(page_id)}"><div class="sheet">{image}{badge}</div>'
        f"<figcaption>{label}</figcaption></figure>"
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
