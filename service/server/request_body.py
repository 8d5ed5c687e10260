"""The body of a request, as gunicorn's threads read it."""

from typing import Any

from gunicorn.http.errors import ParseException

from service.errors import Malformed


class BodyReader:
    """Reads a request's body; raises Malformed where its chunks are broken.

    An answer that is given before the body has come tells the client that it is the last one on this connection.
    """

    def __init__(self, req: Any) -> None:
        self._req = req
        self._reader = req.body.reader
        come = len(req.unreader.buf.getvalue())
        self._decides = not req.must_close and getattr(self._reader, "length", come + 1) > come
        req.must_close |= self._decides

    def read(self, size: int) -> bytes:
        """Read up to so many bytes."""
        try:
            data: bytes = self._reader.read(size)
        except ParseException as error:
            raise Malformed("The body is broken: its chunks do not follow HTTP. Send it again.") from error
        if self._decides and (not data or getattr(self._reader, "length", 1) == 0):
            self._req.must_close = False
        return data
