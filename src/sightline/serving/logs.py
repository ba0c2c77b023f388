"""The service's log on stderr: JSON lines for machines, or plain lines for a person at a terminal."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

# What every record has; anything else was given with ``extra=``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, what was given with it, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


class Lines(logging.Formatter):
    """``12:30:01 request method=POST route=/v1/search status=200 ms=12.3``."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        facts = {name: value for name, value in _extra(record).items() if name != "request_id"}
        shown = "".join(f" {name}={json.dumps(value, default=str)}" for name, value in facts.items())
        line = f"{time} {record.getMessage()}{shown}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(*, as_json: bool) -> None:
    """Send what Sightline and uvicorn have to say to stderr, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else Lines())
    for name, level in (("sightline", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}
