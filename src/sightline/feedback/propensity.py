"""How much less often people look at lower ranks, and what that makes of a click.

The position-based model: a page at rank k is looked at with probability ``k ** -eta``, whatever it is, and clicked
when it is looked at and attracts. ``eta = 1`` is what Joachims, Swaminathan and Schnabel (Unbiased Learning-to-Rank
with Biased Feedback, WSDM 2017, arXiv:1608.04468) work with; eye tracking on result lists falls off about so.

Where the log shows the same page for the same query at several ranks (another version of the model, a reranker
switched on), ``eta`` is estimated from that alone, without any experiment on people (the idea of Agarwal et al.,
Estimating Position Bias without Intrusive Interventions, WSDM 2019, arXiv:1812.05161): how attractive a page is for
its query cancels when its clicks at one rank are compared with its clicks at another.

Letters: g a query and page, k a rank, n_gk how often it was shown there, c_gk its clicks there, C_g its clicks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sightline.feedback.records import LoggedSearch, query_key

DEFAULT_ETA = 1.0
# An estimate with a larger standard error is not used.
MAX_ERROR = 0.2
MOST = 3.0


@dataclass(frozen=True, slots=True)
class PositionBias:
    """How fast attention falls with the rank.

    Attributes:
        eta: the exponent; 0 for none at all.
        source: "given", "estimated", or "literature".
        error: standard error of the estimate; None where nothing could be estimated.
        clicks: clicks that tell something of it: on pages that were shown at several ranks for one query.
        estimate: what was estimated, whether or not it is used; None where nothing could be.
    """

    eta: float
    source: str
    error: float | None = None
    clicks: int = 0
    estimate: float | None = None

    def looked_at(self, rank: int) -> float:
        """The probability that a page at a rank, from 1, is looked at."""
        return float(rank**-self.eta)

    def sentence(self) -> str:
        """For people."""
        chance = f"a page at rank k is looked at with probability 1/k^{self.eta:.2f}"
        if self.source == "estimated":
            return f"{chance} (estimated from {self.clicks:,} clicks, standard error {self.error:.2f})"
        if self.source == "given":
            return f"{chance} (as given)"
        found = f"{self.clicks:,} clicks on pages shown at several ranks are too few to estimate it"
        return f"{chance} (from the literature; {found})"


def position_bias(searches: Iterable[LoggedSearch], eta: float | None = None) -> PositionBias:
    """What is given, else what the log tells where it tells enough, else the literature's value."""
    if eta is not None:
        return PositionBias(eta, "given")
    shown: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    clicks: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for search in searches:
        asked, clicked = query_key(search.query) or search.query_image, search.clicked
        for page in search.shown:
            shown[asked, page.page_id][page.rank] += 1
            if page.page_id in clicked:
                clicks[asked, page.page_id][page.rank] += 1
    told = {pair: (ranks, clicks[pair]) for pair, ranks in shown.items() if len(ranks) > 1 and pair in clicks}
    count = sum(sum(clicked.values()) for _, clicked in told.values())
    found = _estimate(list(told.values()))
    if found is None:
        return PositionBias(DEFAULT_ETA, "literature", clicks=count)
    estimate, error = found
    if error > MAX_ERROR or not 0.0 < estimate < MOST:
        return PositionBias(DEFAULT_ETA, "literature", error, count, estimate)
    return PositionBias(estimate, "estimated", error, count, estimate)


def _estimate(pairs: list[tuple[Mapping[int, int], Mapping[int, int]]]) -> tuple[float, float] | None:
    """The exponent of most likelihood and its standard error, both None where no click tells anything.

    Given C_g, the clicks of a pair fall on its ranks with probabilities ``n_gk k^-eta / sum_j n_gj j^-eta`` (Poisson
    regression with a fixed effect per pair, Hausman, Hall and Griliches 1984), which is free of how attractive it is.
    The log likelihood is concave in eta; Newton's method finds its top.
    """
    eta = DEFAULT_ETA
    information = 0.0
    for _ in range(50):
        slope = information = 0.0
        for ranks, clicked in pairs:
            weights = {rank: count * rank**-eta for rank, count in ranks.items()}
            whole = sum(weights.values())
            mean = sum(weight * math.log(rank) for rank, weight in weights.items()) / whole
            square = sum(weight * math.log(rank) ** 2 for rank, weight in weights.items()) / whole
            total = sum(clicked.values())
            slope += total * mean - sum(count * math.log(rank) for rank, count in clicked.items())
            information += total * (square - mean**2)
        if information < 1e-9:
            return None
        step = slope / information
        eta = min(max(eta + step, 0.0), MOST)
        if abs(step) < 1e-6:
            break
    return eta, information**-0.5
