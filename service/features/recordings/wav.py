"""WAV files: the header, and the samples in blocks.

RIFF and RF64 (EBU Tech 3306). What programs often get wrong is read as they mean it: the RIFF length is ignored, and a
data length of 0xFFFFFFFF without a `ds64` chunk means to the end of the file. What would make a shorter or another
sound than was sent is refused. libsndfile, which reads the samples, and ffmpeg take the first half of a file that was
cut off, so the header is read here.
"""

import io
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile
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
SUBTYPES = {
    (PCM, 1): "PCM_U8",
    (PCM, 2): "PCM_16",
    (PCM, 3): "PCM_24",
    (PCM, 4): "PCM_32",
    (FLOAT, 4): "FLOAT",
    (FLOAT, 8): "DOUBLE",
    (ALAW, 1): "ALAW",
    (ULAW, 1): "ULAW",
}
"""What is read: how libsndfile calls each coding of so many bytes a sample."""
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
        detail = "This is not a WAV file: send audio as RIFF or RF64 WAVE."
        raise UnsupportedType(detail, code="not_a_wav", accepted_types=["audio/wav"])
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
    if coding not in {known for known, _ in SUBTYPES}:
        raise Invalid(f"The WAV file's coding has the number {coding}: send PCM or float.")
    width = (bits + 7) // 8
    if (coding, width) not in SUBTYPES:
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


def blocks(stream: BinaryIO, wave: Wave) -> Iterator[Samples]:
    """Yield the sound in arrays of frames × channels, from -1 to 1. In a float file what is no number is silence."""
    raw = {"format": "RAW", "subtype": SUBTYPES[wave.coding, wave.width], "endian": "LITTLE"}
    stream.seek(wave.start)
    left = wave.frames * wave.frame_bytes
    step = max(1, BLOCK // wave.frame_bytes) * wave.frame_bytes
    while left:
        block = stream.read(min(step, left))
        if not block:
            raise Invalid("The WAV file is cut off.")
        left -= len(block)
        with soundfile.SoundFile(io.BytesIO(block), samplerate=wave.rate, channels=wave.channels, **raw) as file:
            sound: Samples = file.read(dtype="float32", always_2d=True)
        yield np.clip(np.nan_to_num(sound, nan=0.0), -1, 1) if wave.coding == FLOAT else sound
