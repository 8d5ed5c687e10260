"""The headers of WAV files: RIFF, RF64 (EBU Tech 3306) and BW64 (ITU-R BS.2088).

What programs often get wrong is read as they mean it; what would make a shorter or another sound than was sent is
refused. libsndfile, which reads the samples, and ffmpeg take the first half of a file that was cut off, so the header
is read here.
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from service.errors import Invalid, UnsupportedType

MAGIC = (b"RIFF", b"RF64", b"BW64")
CHANNELS = (1, 64)
RATES = (4_000, 384_000)
MOST_CHUNKS = 1_000
"""So many chunks before the sound are none of an honest file, and walking over them would cost more than reading it."""
PLACEHOLDER = 0x7FFFF000
"""From here on a data length is what programs write that do not know it yet, since they write into a pipe: SoX this
one, others 0x80000000, 0xFFFFFFFF, or that without their header."""
TO_THE_END = 0xFFFFFFFF
SLACK = 44
"""A data length may be so many bytes too long: programs count their header among the sound."""

PCM, MS_ADPCM, FLOAT, ALAW, ULAW, IMA_ADPCM, GSM, EXTENSIBLE = 1, 2, 3, 6, 7, 0x11, 0x31, 0xFFFE
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
IN_BLOCKS = (MS_ADPCM, IMA_ADPCM, GSM)
"""Codings of many samples in a block, which libsndfile reads with their header."""
_READ = "send PCM, float, A-law, µ-law, ADPCM (IMA or Microsoft) or GSM 6.10"
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the coding's number in the sub-format of WAVE_FORMAT_EXTENSIBLE."""


@dataclass(frozen=True, slots=True)
class Wave:
    """What a header says: `frame_bytes` of a sample of every channel, or of a block; `speakers` is the mask, or 0.

    `start` and `length` are those of the sound in the file, in bytes. `fact` is how many frames the coder of a coding
    in blocks was given, or 0.
    """

    coding: int
    channels: int
    rate: int
    frame_bytes: int
    speakers: int
    format: bytes
    start: int = 0
    length: int = 0
    fact: int = 0


@dataclass(slots=True)
class _Found:
    """What stood before the sound."""

    format: bytes = b""
    long_data: int | None = None
    fact: int = 0


class Damaged(Invalid):
    """A WAV file that is broken, cut off or without sound."""

    code = "wav_damaged"


class NotRead(Invalid):
    """A whole WAV file of a kind that is not read."""

    code = "wav_not_read"


def read_header(stream: BinaryIO) -> Wave:
    """Return what the header says; raises UnsupportedType where it is no WAV, Damaged, or NotRead."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    _check_begin(stream.read(12))
    found = _Found()
    for name, place, length in _chunks(stream, size):
        if name == b"data":
            return _with_data(stream, size, found, place, length)
        if place + length > size:
            raise Damaged(f"The WAV file is cut off in {_shown(name)}.")
        if name == b"fmt ":
            found.format = stream.read(min(length, 2048))
        elif name == b"ds64":
            found.long_data = _long_data_length(stream.read(min(length, 28)))
        elif name == b"fact" and length >= 4:
            (found.fact,) = struct.unpack("<I", stream.read(4))
    raise Damaged("The WAV file ends before its sound: it has no whole `data` chunk.")


def _check_begin(begin: bytes) -> None:
    """Raise Invalid for what ends before it shows whether it is a WAV, UnsupportedType for what is none."""
    if not begin:
        raise Invalid("The file is empty: send audio as RIFF, RF64 or BW64 WAVE.", code="file_empty")
    if not any(begin[:4] == name[: len(begin)] for name in MAGIC) or begin[8:] != b"WAVE"[: len(begin[8:])]:
        detail = "This is not a WAV file: send audio as RIFF, RF64 or BW64 WAVE."
        raise UnsupportedType(detail, code="not_a_wav", accepted_types=["audio/wav"])
    if len(begin) < 12:
        raise Damaged(f"The WAV file is cut off in its header: it has {len(begin)} bytes.")


def _chunks(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and length of each chunk from here on; the stream stands at its content."""
    place = stream.tell()
    for _ in range(MOST_CHUNKS):
        stream.seek(place)
        header = stream.read(8)
        if len(header) < 8:
            return
        name, length = struct.unpack("<4sI", header)
        yield name, place + 8, length
        place += 8 + length + length % 2
        if place >= size:
            return
    raise Damaged(f"The WAV file has more than {MOST_CHUNKS} chunks.")


def _shown(name: bytes) -> str:
    text = name.decode("latin-1")
    return f"its chunk `{text.strip()}`" if re.fullmatch(r"[A-Za-z0-9_]+ *", text) else "a chunk whose name is no text"


def _long_data_length(chunk: bytes) -> int:
    if len(chunk) < 28:
        raise Damaged("The WAV file's `ds64` chunk is too short.")
    return int(struct.unpack_from("<Q", chunk, 8)[0])


def _with_data(stream: BinaryIO, size: int, found: _Found, place: int, length: int) -> Wave:
    if not found.format:
        raise Damaged("The WAV file has no `fmt` chunk before its sound.")
    wave = _format(found.format)
    length = _data_length(stream, size, found, place, length)
    if place + length - size > max(SLACK, wave.frame_bytes):
        raise Damaged(
            f"The WAV file is cut off: its header tells of {length} bytes of sound, but {size - place} are there."
        )
    _refuse_second_sound(stream, size, place + length)
    length = min(length, size - place)
    if length < wave.frame_bytes:
        raise Damaged("The WAV file is empty: it has no sound.")
    return Wave(
        *(wave.coding, wave.channels, wave.rate, wave.frame_bytes, wave.speakers, wave.format),
        *(place, length, found.fact),
    )


def _data_length(stream: BinaryIO, size: int, found: _Found, place: int, length: int) -> int:
    """Return how long the sound is, to the end of the file where its length is a placeholder."""
    left = size - place
    if length == TO_THE_END and found.long_data:
        length = found.long_data
        return left if left < length and length >= 1 << 63 else length
    is_placeholder = length >= PLACEHOLDER and length > left
    if is_placeholder or (length == 0 and not _is_chunk_after_chunk(stream, size, place)):
        return left
    return length


def _is_chunk_after_chunk(stream: BinaryIO, size: int, place: int) -> bool:
    """Return whether chunks follow to the very end of the file, so that they are no sound."""
    stream.seek(place)
    end = place
    for _, begin, length in _chunks(stream, size):
        end = begin + length
    return size in (end, end + end % 2)


def _refuse_second_sound(stream: BinaryIO, size: int, end: int) -> None:
    """Raise NotRead where a second sound stands behind the first, in this file or in one that was joined to it."""
    if end >= size:
        return
    stream.seek(end + end % 2)
    for name, begin, length in _chunks(stream, size):
        if name == b"data" or name in MAGIC:
            raise NotRead("The WAV file has a second sound behind the first: send each in a file of its own.")
        if begin + length > size:
            return


def _format(chunk: bytes) -> Wave:
    if len(chunk) < 16:
        raise Damaged("The WAV file's `fmt` chunk is too short.")
    coding, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    speakers = 0
    if coding == EXTENSIBLE:
        speakers, coding = _extension(chunk)
    if coding not in {known for known, _ in SUBTYPES} and coding not in IN_BLOCKS:
        raise NotRead(f"The WAV file's coding has the number {coding}: {_READ}.")
    if not CHANNELS[0] <= channels <= CHANNELS[1]:
        raise NotRead(f"The WAV file has {channels} channels: send {CHANNELS[0]} to {CHANNELS[1]}.")
    if not RATES[0] <= rate <= RATES[1]:
        raise NotRead(f"The WAV file has {rate} samples a second: send {RATES[0]} to {RATES[1]}.")
    if coding in IN_BLOCKS:
        if not block or len(chunk) < 20:
            raise Damaged("The WAV file is broken: its `fmt` chunk does not tell how long a block is.")
        return Wave(coding, channels, rate, block, speakers, chunk)
    width = _width(coding, channels, block, bits)
    if (coding, width) not in SUBTYPES:
        raise NotRead(f"The WAV file has {bits} bits a sample: send 8, 16, 24 or 32, or float of 32 or 64.")
    return Wave(coding, channels, rate, width * channels, speakers, chunk)


def _width(coding: int, channels: int, block: int, bits: int) -> int:
    """Return the bytes of a sample. Channels and bits decide, except that 24 bits may stand above an empty byte."""
    if coding == PCM and bits == 24 and block == 4 * channels:
        return 4
    return (bits + 7) // 8


def _extension(chunk: bytes) -> tuple[int, int]:
    """Return the channel mask and the coding of WAVE_FORMAT_EXTENSIBLE."""
    if len(chunk) < 40:
        raise Damaged("The WAV file's `fmt` chunk is too short for WAVE_FORMAT_EXTENSIBLE.")
    speakers, coding = struct.unpack_from("<IH", chunk, 20)
    if chunk[26:40] != GUID_TAIL:
        raise NotRead(f"The WAV file's coding is unknown: {_READ}.")
    return speakers, coding
