"""WAV in: the header, told by its own bytes, and the samples in blocks.

RIFF and RF64 (EBU Tech 3306). What programs often get wrong is read as they mean it: the RIFF length is ignored, and a
data length of 0xFFFFFFFF without a `ds64` chunk means to the end of the file. What would make a shorter or another
sound than was sent is refused.
"""

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.errors import Invalid, UnsupportedType

Samples = NDArray[np.float32]

MAGIC = (b"RIFF", b"RF64")
CHANNELS = (1, 64)
RATES = (8_000, 192_000)
MOST_CHUNKS = 1_000
"""So many chunks before the sound are none of an honest file, and walking over them would cost more than reading it."""
TO_THE_END = 0xFFFFFFFF
BLOCK = 512 * 1024
"""Bytes read at a time: what sits in memory of a recording of any length."""

PCM, FLOAT, ALAW, ULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
WIDTHS = {PCM: (1, 2, 3, 4), FLOAT: (4, 8), ALAW: (1,), ULAW: (1,)}
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the coding's number in the sub-format of WAVE_FORMAT_EXTENSIBLE."""


@dataclass(frozen=True, slots=True)
class Wave:
    """What a header says: `width` is in bytes a sample, `start` in bytes; `speakers` is the channel mask, or 0."""

    coding: int
    channels: int
    rate: int
    width: int
    speakers: int
    start: int = 0
    frames: int = 0

    @property
    def frame_bytes(self) -> int:
        """The bytes of one sample of every channel."""
        return self.width * self.channels

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return self.frames / self.rate


def read_header(stream: BinaryIO) -> Wave:
    """Return what the header says; raises UnsupportedType where it is no WAV, Invalid where it is a broken one."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    _check_begin(stream.read(12))
    wave: Wave | None = None
    long_data: int | None = None
    for _ in range(MOST_CHUNKS):
        name, length = _chunk(stream)
        place = stream.tell()
        if name == b"data":
            return _with_data(wave, place, _data_length(length, long_data, size - place), size - place)
        if place + length > size:
            raise Invalid(f"The WAV file is cut off in {_shown(name)}.")
        if name == b"fmt ":
            wave = _format(stream.read(min(length, 40)))
        elif name == b"ds64":
            long_data = _long_data_length(stream.read(min(length, 28)))
        stream.seek(place + length + length % 2)
    raise Invalid(f"The WAV file has more than {MOST_CHUNKS} chunks before its sound.")


def _check_begin(begin: bytes) -> None:
    """Raise Invalid for what ends before it shows whether it is a WAV, UnsupportedType for what is none."""
    if not begin:
        raise Invalid("The file is empty: send audio as RIFF or RF64 WAVE.")
    if not any(begin[:4] == name[: len(begin)] for name in MAGIC) or begin[8:] != b"WAVE"[: len(begin[8:])]:
        raise UnsupportedType("This is not a WAV file: send audio as RIFF or RF64 WAVE.", accepted_types=["audio/wav"])
    if len(begin) < 12:
        raise Invalid(f"The WAV file is cut off in its header: it has {len(begin)} bytes.")


def _chunk(stream: BinaryIO) -> tuple[bytes, int]:
    header = stream.read(8)
    if len(header) < 8:
        raise Invalid("The WAV file ends before its sound: it has no whole `data` chunk.")
    name, length = struct.unpack("<4sI", header)
    return name, length


def _shown(name: bytes) -> str:
    text = name.decode("latin-1")
    return f"its chunk `{text.strip()}`" if re.fullmatch(r"[A-Za-z0-9_]+ *", text) else "a chunk whose name is no text"


def _long_data_length(chunk: bytes) -> int:
    if len(chunk) < 28:
        raise Invalid("The WAV file's `ds64` chunk is too short.")
    return int(struct.unpack_from("<Q", chunk, 8)[0])


def _data_length(length: int, long_data: int | None, left: int) -> int:
    if length != TO_THE_END:
        return length
    return left if long_data is None else long_data


def _with_data(wave: Wave | None, place: int, length: int, left: int) -> Wave:
    if wave is None:
        raise Invalid("The WAV file has no `fmt` chunk before its sound.")
    if length > left:
        raise Invalid(f"The WAV file is cut off: its header tells of {length} bytes of sound, but {left} are there.")
    frames = length // wave.frame_bytes
    if not frames:
        raise Invalid("The WAV file is empty: it has no sound.")
    return Wave(wave.coding, wave.channels, wave.rate, wave.width, wave.speakers, place, frames)


def _format(chunk: bytes) -> Wave:
    if len(chunk) < 16:
        raise Invalid("The WAV file's `fmt` chunk is too short.")
    coding, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    speakers = 0
    if coding == EXTENSIBLE:
        speakers, coding = _extension(chunk)
    if coding not in WIDTHS:
        raise Invalid(f"The WAV file's coding has the number {coding}: send PCM or float.")
    width = (bits + 7) // 8
    if width not in WIDTHS[coding]:
        raise Invalid(f"The WAV file has {bits} bits a sample: send 8, 16, 24 or 32, or float of 32 or 64.")
    if not CHANNELS[0] <= channels <= CHANNELS[1]:
        raise Invalid(f"The WAV file has {channels} channels: send {CHANNELS[0]} to {CHANNELS[1]}.")
    if not RATES[0] <= rate <= RATES[1]:
        raise Invalid(f"The WAV file has {rate} samples a second: send {RATES[0]} to {RATES[1]}.")
    if frame_bytes != width * channels:
        raise Invalid(f"The WAV file is broken: {frame_bytes} bytes a frame do not fit {channels} × {bits} bits.")
    return Wave(coding, channels, rate, width, speakers)


def _extension(chunk: bytes) -> tuple[int, int]:
    """Return the channel mask and the coding of WAVE_FORMAT_EXTENSIBLE."""
    if len(chunk) < 40:
        raise Invalid("The WAV file's `fmt` chunk is too short for WAVE_FORMAT_EXTENSIBLE.")
    speakers, coding = struct.unpack_from("<IH", chunk, 20)
    if chunk[26:40] != GUID_TAIL:
        raise Invalid("The WAV file's coding is unknown: send PCM or float.")
    return speakers, coding


def blocks(stream: BinaryIO, wave: Wave) -> Iterator[bytes]:
    """Give the sound in blocks of whole frames; what follows it in the file is left alone."""
    stream.seek(wave.start)
    left = wave.frames * wave.frame_bytes
    step = max(1, BLOCK // wave.frame_bytes) * wave.frame_bytes
    while left:
        block = stream.read(min(step, left))
        if not block:
            raise Invalid("The WAV file is cut off.")
        left -= len(block)
        yield block


def samples(block: bytes, wave: Wave) -> Samples:
    """Return a block as an array of frames × channels, from -1 to 1. In a float file what is no number is silence."""
    return _READERS[wave.coding, wave.width](block).reshape(-1, wave.channels)


def _integers(kind: str) -> Callable[[bytes], Samples]:
    scale = np.float32(1 / 2 ** (8 * np.dtype(kind).itemsize - 1))

    def read(block: bytes) -> Samples:
        values: Samples = np.frombuffer(block, kind).astype(np.float32) * scale
        return values

    return read


def _unsigned(block: bytes) -> Samples:
    return (np.frombuffer(block, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)


def _three_bytes(block: bytes) -> Samples:
    wide = np.zeros((len(block) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(block, np.uint8).reshape(-1, 3)
    return _integers("<i4")(wide.tobytes())


def _floats(kind: str) -> Callable[[bytes], Samples]:
    def read(block: bytes) -> Samples:
        numbers = np.nan_to_num(np.frombuffer(block, kind), nan=0.0)
        values: Samples = np.clip(numbers, -1, 1).astype(np.float32)
        return values

    return read


def _table(values: NDArray[np.int64]) -> Callable[[bytes], Samples]:
    table: Samples = (values / 32768).astype(np.float32)

    def read(block: bytes) -> Samples:
        values: Samples = table[np.frombuffer(block, np.uint8)]
        return values

    return read


def _a_law() -> NDArray[np.int64]:
    """Return the 16-bit values of A-law's codes (ITU-T G.711)."""
    codes = np.arange(256) ^ 0x55
    exponent, mantissa = codes >> 4 & 7, (codes & 15) << 4
    size = np.where(exponent == 0, mantissa + 8, mantissa + 0x108 << np.maximum(exponent - 1, 0))
    return np.where(codes & 0x80, size, -size)


def _mu_law() -> NDArray[np.int64]:
    """Return the 16-bit values of µ-law's codes (ITU-T G.711)."""
    codes = np.arange(256) ^ 0xFF
    size = (((codes & 15) << 3) + 0x84 << (codes >> 4 & 7)) - 0x84
    return np.where(codes & 0x80, -size, size)


_READERS: dict[tuple[int, int], Callable[[bytes], Samples]] = {
    (PCM, 1): _unsigned,
    (PCM, 2): _integers("<i2"),
    (PCM, 3): _three_bytes,
    (PCM, 4): _integers("<i4"),
    (FLOAT, 4): _floats("<f4"),
    (FLOAT, 8): _floats("<f8"),
    (ALAW, 1): _table(_a_law()),
    (ULAW, 1): _table(_mu_law()),
}
