"""Requests made from the OpenAPI document; `scripts/fuzz_service.py` sends 10,000, this a few hundred."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from sightline.feedback.store import FeedbackStore
from sightline.models.encoder import Encoder
from sightline.search.index import SearchIndex
from support.services import running, service_of

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "fuzz_service.py"))
REQUESTS = 300


def test_no_request_gets_a_500_a_place_or_another_shape(
    small_index: SearchIndex, small_encoder: Encoder, tmp_path: Path
) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    service = service_of(small_index, small_encoder, feedback_store=store, runs=tmp_path)
    watch = SCRIPT["Watch"]([small_index.path, small_index.media_root, tmp_path])
    secrets = [str(small_index.path.parent), str(Path.home()) + "/", sys.prefix, "site-packages", "Traceback"]
    with running(service) as url:
        watch.port = int(url.rpartition(":")[2])
        watch.on = True
        tally = SCRIPT["fuzz"](url, REQUESTS, seed=7, secrets=secrets)
        watch.on = False
    assert tally.problems == []
    assert watch.seen == set()
    assert tally.requests >= REQUESTS
    routes = {route for route, _ in tally.answers}
    assert {"POST /v1/search", "GET /v1/page/thumbnail", "GET /v1/index"} <= routes
    assert {200, 400, 404} <= {status for _, status in tally.answers}
