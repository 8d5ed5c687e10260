"""The samples of a WAV file, read by libsndfile in blocks."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from service.features.recordings.wav import IN_BLOCKS, SUBTYPES, Damaged, Wave
from service.shortage import check_memory

Samples = NDArray[np.float32]

BLOCK = 1 << 16
"""Samples read at a time, of all channels: what sits in memory of a recording of any length."""
LOUDEST = 100.0
"""Of full scale, 40 dB: where an encoder's own numbers still hold."""
_DAMAGED = "The WAV file does not decode: it is damaged."


def count(stream: BinaryIO, wave: Wave) -> int:
    """Return how many frames the sound has; raises Damaged where it does not decode."""
    if wave.coding not in IN_BLOCKS:
        return wave.length // wave.frame_bytes
    with _opened(stream, wave) as file:
        frames = int(file.frames)
    if not frames:
        raise Damaged("The WAV file is empty: it has no sound.")
    # The last block may be filled up. Elsewhere `fact` is not believed: libsndfile writes half of it for two channels.
    (of_block,) = struct.unpack_from("<H", wave.format, 18)
    return wave.fact if frames - of_block < wave.fact < frames else frames


def blocks(stream: BinaryIO, wave: Wave) -> Iterator[Samples]:
    """Yield the sound in arrays of frames × channels, full scale from -1 to 1.

    In a float file what is beyond full scale is kept, and what is no number is silence.
    """
    left = count(stream, wave)
    with _opened(stream, wave) as file:
        while left:
            sound: Samples = file.read(min(left, BLOCK // wave.channels), dtype="float32", always_2d=True)
            if not len(sound):
                raise Damaged("The WAV file is cut off.")
            left -= len(sound)
            yield np.clip(np.nan_to_num(sound, nan=0.0), -LOUDEST, LOUDEST)


@contextmanager
def _opened(stream: BinaryIO, wave: Wave) -> Iterator[soundfile.SoundFile]:
    """Open the sound alone: without a header, or behind one that says what was read of the file's own."""
    window = _Window(stream, wave, _header(wave) if wave.coding in IN_BLOCKS else b"")
    raw = {} if wave.coding in IN_BLOCKS else _raw(wave)
    try:
        with soundfile.SoundFile(window, **raw) as file:
            if (file.channels, file.samplerate) != (wave.channels, wave.rate):
                raise Damaged(_DAMAGED)
            yield file
    except (soundfile.LibsndfileError, Damaged) as error:
        if window.fault:
            raise window.fault from error
        if isinstance(error, Damaged):
            raise
        check_memory()
        raise Damaged(_DAMAGED) from error


def _raw(wave: Wave) -> dict[str, Any]:
    subtype = SUBTYPES[wave.coding, wave.frame_bytes // wave.channels]
    return {
        "format": "RAW",
        "subtype": subtype,
        "endian": "LITTLE",
        "samplerate": wave.rate,
        "channels": wave.channels,
    }


def _header(wave: Wave) -> bytes:
    form = wave.format + bytes(len(wave.format) % 2)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(wave.format)) + form + b"data" + struct.pack("<I", wave.length)
    return b"RIFF" + struct.pack("<I", len(body) + wave.length) + body


class _Window(io.RawIOBase):
    """A file of a header and those bytes of another that are its sound.

    libsndfile asks for bytes through C, which no exception passes: that of a failed read is kept in `fault`.
    """

    def __init__(self, stream: BinaryIO, wave: Wave, header: bytes = b"") -> None:
        self.fault: OSError | None = None
        self._stream = stream
        self._header = header
        self._begin = wave.start - len(header)
        self._size = len(header) + wave.length
        self._place = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, (0, self._place, self._size)[whence] + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, target: Any) -> int:
        """Read as many bytes as there is room for; fewer only at the end."""
        view = memoryview(target)
        wanted = min(len(view), max(0, self._size - self._place))
        data = self._header[self._place : self._place + wanted]
        try:
            if len(data) < wanted:
                self._stream.seek(self._begin + self._place + len(data))
                data += self._stream.read(wanted - len(data))
        except OSError as error:
            self.fault = error
        view[: len(data)] = data
        self._place += len(data)
        return len(data)
