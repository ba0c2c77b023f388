"""``GET /v1/runs``, a run, its report, and several beside each other: what the models view shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel

from sightline.errors import DataError
from sightline.runs.shelf import Shelf
from sightline.runs.shelf_records import Run, RunComparison, RunSummary
from sightline.serving.errors import ApiError
from sightline.serving.service import Service

# A report is one file with its styles and pictures inside; it may load nothing and run nothing.
_REPORT_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
_MOST = 8


class RunList(BaseModel):
    """The runs in the service's folder of runs, newest first."""

    runs: list[RunSummary]


def router(service: Service) -> APIRouter:
    """Training runs and what came of them; 404 where the service was started without ``--runs``."""
    routes = APIRouter(prefix="/v1", tags=["runs"])

    @routes.get("/runs", summary="Training runs")
    def listed() -> RunList:
        """Each with what it trained, on what, and what changed."""
        return RunList(runs=_shelf(service).all())

    @routes.get("/runs/{name}", summary="One training run")
    def run(name: str) -> Run:
        """Its table, what separates the systems, its log and its recipe."""
        try:
            return _shelf(service).run(name)
        except DataError as error:
            raise ApiError(404, str(error), param="name") from error

    @routes.get(
        "/runs/{name}/report",
        summary="The report of a run",
        response_class=Response,  # not HTMLResponse: FastAPI would say that errors are HTML too
        responses={200: {"content": {"text/html": {}}, "description": "The report."}},
    )
    def report(name: str) -> HTMLResponse:
        """The HTML report that the training wrote."""
        try:
            path = _shelf(service).report(name)
        except DataError as error:
            raise ApiError(404, str(error), param="name") from error
        return HTMLResponse(path.read_bytes(), headers=_REPORT_HEADERS)

    @routes.get("/comparison", summary="Runs beside each other")
    def comparison(
        run: Annotated[
            list[str],
            Query(
                description="Names of runs; the first is what the others are compared with.", max_length=_MOST
            ),
        ],
    ) -> RunComparison:
        """Their best systems. Where they were measured on different data it says so, and compares nothing."""
        try:
            return _shelf(service).compare(run)
        except DataError as error:
            raise ApiError(400, str(error), param="run") from error

    return routes


def _shelf(service: Service) -> Shelf:
    folder: Path | None = service.settings.runs
    if folder is None:
        raise ApiError(404, "this service shows no runs; start it with --runs FOLDER", code="no_runs")
    return Shelf(folder)
