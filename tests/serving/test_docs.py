"""docs/serving.md against the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from fastapi.testclient import TestClient

from sightline.serving.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_every_setting_is_there_with_its_default() -> None:
    rows = dict(re.findall(r"^\| (`.+?) \|(.*?)\|", PAGE, flags=re.M))
    said = {
        name: value.strip("`").lower()
        for names, values in rows.items()
        for name, value in zip(re.findall(r"`(\w+)`", names), [*values.strip().split(", "), "", ""])
    }
    for field in fields(Settings):
        default = getattr(Settings(), field.name)
        assert field.name in said
        assert said[field.name] == ("" if default in (None, ()) else str(default).lower()), field.name


def test_every_route_is_there(client: TestClient) -> None:
    for path in client.get("/openapi.json").json()["paths"]:
        assert "/".join(path.split("/")[:3]) in PAGE, path
