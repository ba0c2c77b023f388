"""What marks and clicks say together: position bias, voices, contradictions."""

from __future__ import annotations

import random

import pytest

from feedback.logs import searched
from sightline.demo.visitors import Habits, clicks
from sightline.errors import ConfigError
from sightline.feedback.propensity import position_bias
from sightline.feedback.records import LoggedSearch
from sightline.feedback.report import report_feedback
from sightline.feedback.weighing import Judged, JudgedQuery, WeighingRules, judge

PAGES = [f"d.pdf#p{number}" for number in range(10)]
FIRST, SECOND, FIFTH = PAGES[0], PAGES[1], PAGES[4]


def verdicts(log: list[LoggedSearch], rules: WeighingRules | None = None) -> dict[str, str]:
    (query,) = judge(log, rules).queries
    return {page.page_id: page.verdict for page in query.pages if page.verdict != "open"}


def many(count: int, clicks: dict[str, int], **more: int) -> list[LoggedSearch]:
    """``count`` sessions that were shown the same; the first so many of them clicked each page."""
    return [
        searched(
            f"s{number}",
            "q",
            PAGES,
            {page: ["click"] for page, times in clicks.items() if number < times},
            session=f"u{number}",
        )
        for number in range(count)
    ]


def attraction(judged: Judged, page: str) -> float:
    return next(one.attraction for one in judged.queries[0].pages if one.page_id == page)


def test_a_click_counts_less_at_the_top() -> None:
    log = many(10, {FIRST: 3, FIFTH: 3})
    judged = judge(log, WeighingRules(eta=1.0, weak=False))
    # 3 clicks in 10 looks at the top, and in 10 / 5 looks at rank 5; the background is 6 clicks in all looks.
    looks = 10 * sum(1 / rank for rank in range(1, 11))
    assert attraction(judged, FIRST) == pytest.approx((3 + 6 / looks) / 11)
    assert attraction(judged, FIFTH) == pytest.approx((3 + 6 / looks) / 3)
    assert verdicts(log, WeighingRules(eta=1.0, weak=False)) == {FIFTH: "right"}
    plain = judge(log, WeighingRules(eta=0.0, weak=False))
    assert attraction(plain, FIRST) == attraction(plain, FIFTH)


def test_pages_passed_over_for_a_click_below_are_weak_negatives() -> None:
    log = many(1, {FIFTH: 1})
    assert verdicts(log) == {**dict.fromkeys(PAGES[:4], "skipped"), FIFTH: "right"}
    assert verdicts(log, WeighingRules(weak=False)) == {FIFTH: "right"}
    assert verdicts(log, WeighingRules(clicks=False)) == {}
    assert verdicts(log, WeighingRules(min_voices=2, weak=False)) == {}
    clicked_once = [*log, searched("t", "q", PAGES, {FIRST: ["click"]}, session="other")]
    assert verdicts(clicked_once)[SECOND] == "skipped"
    assert FIRST not in verdicts(clicked_once), "what somebody else clicked is not wrong"


def test_marks_come_before_clicks() -> None:
    log = [
        *many(20, {FIRST: 20}),
        searched("t", "q", PAGES, {FIRST: ["not_relevant"], SECOND: ["relevant"]}, session="other"),
    ]
    (query,) = judge(log).queries
    by_page = {page.page_id: page for page in query.pages}
    assert (by_page[FIRST].verdict, by_page[FIRST].evidence) == ("wrong", "marks")
    assert by_page[FIRST].contradicted, "the clicks said something else"
    assert (by_page[SECOND].verdict, by_page[SECOND].contradicted) == ("right", False)


def test_a_mark_says_what_the_clicks_of_its_search_led_to() -> None:
    log = [searched("s", "q", PAGES[:4], {SECOND: ["click"], PAGES[3]: ["click", "relevant"]})]
    # The first and third were passed over; what was opened and not marked is neither right nor wrong.
    assert verdicts(log) == {FIRST: "skipped", PAGES[2]: "skipped", PAGES[3]: "right"}


def test_one_session_has_one_voice() -> None:
    one = [
        searched(f"s{number}", "Q? ", PAGES, {FIRST: ["relevant", "click"]}, session="anna", hour=number)
        for number in range(9)
    ]
    others = [
        searched(f"t{number}", "q", PAGES, {FIRST: ["not_relevant"]}, session=f"u{number}") for number in "ab"
    ]
    (query,) = judge([*one, *others]).queries
    assert (query.query, query.searches) == ("Q?", 11)
    assert (query.pages[0].verdict, query.pages[0].voices, query.pages[0].contradicted) == ("wrong", 2, True)
    assert verdicts(one[:1]) == {FIRST: "right"}
    tie = judge([*one, others[0]]).queries[0].pages[0]
    assert (tie.verdict, tie.contradicted) == ("open", True)
    # Clicks of a session count once, too: nine clicks of one are not nine voices.
    assert judge([*one, *others]).queries[0].pages[0].attraction < 1


def test_a_session_that_changes_its_mind_has_said_the_last() -> None:
    log = [
        searched("late", "q", PAGES, {FIRST: ["not_relevant"]}, session="anna", hour=2),
        searched("early", "q", PAGES, {FIRST: ["relevant"]}, session="anna", hour=1),
    ]
    assert verdicts(log) == {FIRST: "wrong"}
    assert verdicts(log[::-1]) == {FIRST: "wrong"}


def test_searches_without_a_session_are_sessions_of_their_own() -> None:
    log = [searched(f"s{number}", "q", PAGES, {FIRST: ["relevant"]}) for number in range(3)]
    assert judge(log).queries[0].pages[0].voices == 3


def test_none_of_these() -> None:
    log = [searched("s", "q", PAGES[:3], {FIRST: ["click"]}, none=True)]
    (query,) = judge(log).queries
    assert query.unanswered
    assert verdicts(log) == dict.fromkeys(PAGES[:3], "wrong"), "a click that led to nothing does not count"
    answered = [*log, searched("t", "q", PAGES[:3], {SECOND: ["relevant"]})]
    (query,) = judge(answered).queries
    assert not query.unanswered
    assert verdicts(answered) == {FIRST: "wrong", SECOND: "right", PAGES[2]: "wrong"}
    assert next(page for page in query.pages if page.page_id == SECOND).contradicted
    clicked = [*log, *many(5, {FIRST: 5})]
    assert FIRST not in verdicts(clicked), "others were content with it: nothing is decided"


def test_a_page_beside_those_shown_may_be_marked() -> None:
    log = [searched("s", "q", PAGES[:3], {"d.pdf#p77": ["relevant"]})]
    assert verdicts(log) == {"d.pdf#p77": "right"}
    assert judge(log).queries[0].pages[-1].rank == 0


def test_queries_are_put_together_and_images_left_out() -> None:
    log = [
        searched("1", "Where is  it?", PAGES),
        searched("2", "where is it", PAGES),
        searched("3", "Where is it?", PAGES),
        searched("4", "", PAGES, image="f00d"),
        searched("5", "and this", PAGES, image="f00d"),
    ]
    judged = judge(log)
    assert judged.queries == (JudgedQuery("Where is it?", 3, False, judged.queries[0].pages),)
    assert (judged.searches, judged.image_searches) == (5, 2)


@pytest.mark.parametrize("rules", [{"eta": -1.0}, {"eta": 9.0}, {"attraction": 0.0}, {"min_voices": 0}])
def test_rules_that_cannot_be_meant(rules: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        WeighingRules(**rules)  # type: ignore[arg-type]


def rankings(count: int, eta: float, *, fixed: bool = False) -> list[LoggedSearch]:
    """Queries asked often, their pages in another order each time unless fixed."""
    chance, log = random.Random(f"{count} {eta}"), []
    for query in range(40):
        right = set(chance.sample(PAGES, 3))
        for number in range(count):
            order = PAGES if fixed else chance.sample(PAGES, len(PAGES))
            clicked = clicks(chance, order, right, Habits(eta=eta))
            log.append(
                searched(f"{query}-{number}", f"q{query}", order, {page: ["click"] for page in clicked})
            )
    return log


@pytest.mark.parametrize("eta", [0.3, 1.0, 1.8])
def test_the_bias_is_estimated_where_rankings_differ(eta: float) -> None:
    bias = position_bias(rankings(40, eta))
    assert bias.source == "estimated"
    assert bias.error is not None
    assert abs(bias.eta - eta) < 4 * bias.error < 0.4
    assert bias.looked_at(1) == 1.0
    assert bias.looked_at(4) == pytest.approx(4**-bias.eta)


def test_the_bias_is_not_estimated_from_what_cannot_tell() -> None:
    for log in (rankings(30, 0.4, fixed=True), rankings(1, 0.4), []):
        bias = position_bias(log)
        assert (bias.eta, bias.source) == (1.0, "literature")
    assert position_bias([], 0.7).eta == 0.7
    assert "as given" in position_bias([], 0.7).sentence()


def test_the_report_counts() -> None:
    log = [
        searched("1", "a", PAGES, {SECOND: ["relevant", "click"]}, session="x"),
        searched("2", "b", PAGES, {FIRST: ["click"]}, session="x", hour=1),
        searched("3", "c", PAGES, none=True, hour=30),
        searched("4", "C ", PAGES[:2], none=True, hour=31, version="v2"),
        searched("5", "d", [], hour=32, version="v2"),
        searched("6", "e", PAGES, {FIRST: ["relevant"]}, hour=33, version="v2"),
    ]
    report = report_feedback(log)
    assert (report.searches, report.queries) == (6, 5)
    assert [
        (one.day, one.searches, one.sessions, one.clicked, one.marked, one.unanswered) for one in report.days
    ] == [
        ("2025-01-01", 2, 1, 2, 1, 0),
        ("2025-01-02", 4, 4, 0, 1, 2),
    ]
    top, second, third = report.ranks[:3]
    assert (top.shown, top.clicked, top.relevant, top.rate) == (5, 1, 1, 0.2)
    assert (second.shown, second.clicked, second.relevant, third.shown) == (5, 1, 1, 4)
    assert [(one.version, one.searches, one.judged, one.mrr) for one in report.versions] == [
        ("v1", 3, 2, 0.25),
        ("v2", 3, 2, 0.5),
    ]
    assert report.unanswered == (("c", 2),)
    assert report.empty == (("d", 1),)
    assert report.to_json()["ranks"][0]["rate"] == 0.2
