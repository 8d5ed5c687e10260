"""The log: one line an event, as text or as JSON, in which no client can forge another line."""

import logging
import os
import re
import select
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

REQUEST_ID = "service.request_id"
"""The key under which a request's environment has its id."""

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, quote, equals sign and backslash
_UNSAFE = re.compile(r"[^\x20-\x5b\x5d-\x7e]")

Fields = Mapping[str, Any]


def request_id(given: str | None) -> str:
    """Return the id that a client gave to its request if it is well-formed, else a new one."""
    return given if given and _WELL_FORMED.fullmatch(given) else os.urandom(8).hex()


def event(log: logging.Logger, message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log one line: a message that is the same every time, and what was different this time."""
    if log.isEnabledFor(level):
        log.log(level, message, extra={"lines": (fields,)})


def events(log: logging.Logger, message: str, lines: Sequence[Fields], level: int = logging.INFO) -> None:
    """Log many lines of one message at the cost of one record."""
    if lines and log.isEnabledFor(level):
        log.log(level, message, extra={"lines": lines})


class StateLog:
    """Logs one line when the state of something changes, and none while it stays."""

    def __init__(self, log: logging.Logger, bad: str, good: str) -> None:
        self._log = log
        self._bad = bad
        self._good = good
        self._faults: dict[str, str] = {}

    def see(self, name: str, fault: str) -> None:
        """Take note of the state now: what is wrong, empty for nothing."""
        before = self._faults.get(name, "")
        self._faults[name] = fault
        if bool(before) != bool(fault):
            level = logging.WARNING if fault else logging.INFO
            event(self._log, self._bad if fault else self._good, level, check=name, said=fault or None)


class TextFormatter(logging.Formatter):
    """`time LEVEL pid=1 logger message key=value …`; a value with anything special in it is quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line for each of the record's `lines`; a traceback follows, indented, so that it begins no line."""
        head = f"{_time(record)} {record.levelname} pid={record.process} {record.name} {_escaped(record.getMessage())}"
        lines = [head + "".join(_pairs(fields)) for fields in _lines(record)]
        if trace := _traceback(record):
            lines += [f"    {_escaped(line)}" for line in trace.splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `pid`, `message`, then what was different this time."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line for each of the record's `lines`."""
        head = {"time": _time(record), "level": record.levelname, "logger": record.name, "pid": record.process}
        head["message"] = record.getMessage()
        if trace := _traceback(record):
            head["traceback"] = trace
        return "\n".join(_json({**head, **fields}) for fields in _lines(record))


class Output(logging.Handler):
    """Writes to standard error in pieces of whole lines that the kernel does not mix with those of other processes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's lines."""
        try:
            for piece in _pieces(self.format(record).split("\n")):
                sys.stderr.write(piece)
                sys.stderr.flush()
        except Exception:  # noqa: BLE001 - as in logging's own handlers: a log that cannot be written stops no work
            self.handleError(record)


QUIET = ("urllib3", "PIL", "botocore", "boto3", "s3transfer", "pyvips")
"""Libraries that at DEBUG write what was sent: headers with secrets, or whole photos."""


class WithoutTracebacks(logging.Filter):
    """Leaves out what has a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record has none."""
        return not record.exc_info


def configuration(level: str, form: str) -> dict[str, Any]:
    """Return the settings of `logging`. What libraries say for their own debugging is left out at every level."""
    formatter = JsonFormatter if form == "json" else TextFormatter
    quiet = {name: {"level": "INFO"} for name in QUIET} if level == "DEBUG" else {}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": formatter}},
        "filters": {"without tracebacks": {"()": WithoutTracebacks}},
        "handlers": {"console": {"()": Output, "formatter": "lines"}},
        "root": {"level": level, "handlers": ["console"]},
        "loggers": {
            # At DEBUG gunicorn writes every path, and that of a signed link is a secret.
            "gunicorn.error": {"level": "INFO" if level == "DEBUG" else level, "handlers": [], "propagate": True},
            # A connection that broke is not reset: the statement that met that has raised, and is told by its caller.
            "sqlalchemy.pool.impl.QueuePool": {"filters": ["without tracebacks"]},
            **quiet,
        },
    }


def _lines(record: logging.LogRecord) -> Sequence[Fields]:
    lines: Sequence[Fields] = getattr(record, "lines", ({},))
    return lines


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _pairs(fields: Fields) -> Iterable[str]:
    for name, value in fields.items():
        if value is not None:
            text = str(value)
            if not _PLAIN.fullmatch(text):
                text = '"' + _escaped(text).replace('"', '\\"') + '"'
            yield f" {name}={text}"


def _escaped(text: str) -> str:
    r"""Write whatever is no printable ASCII as \u…: line ends, terminal codes, letters that look like others."""
    return _UNSAFE.sub(lambda found: "\\\\" if found[0] == "\\" else ascii(found[0])[1:-1], text)


def _json(fields: Fields) -> str:
    try:
        return orjson.dumps(fields, default=str).decode()
    except TypeError:  # a text with half a surrogate pair, which UTF-8 cannot write
        whole = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in fields.items()}
        return orjson.dumps(whole).decode()


def _traceback(record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(logging.Formatter().formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _pieces(lines: Sequence[str]) -> Iterable[str]:
    """Join lines to pieces of at most what a pipe takes at once; only a line that is longer goes alone."""
    piece: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode("utf-8", "replace")) + 1
        if piece and size + length > select.PIPE_BUF:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(line + "\n")
        size += length
    if piece:
        yield "".join(piece)
