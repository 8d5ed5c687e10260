"""MP3 out: LAME in this process, with samples as floats, and the frame that tells where the sound begins and ends."""

import ctypes
import struct
from functools import cache
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_LONG = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_SHORT = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
BITRATES = tuple(sorted({*_LONG, *_SHORT}))
"""What a constant bit rate may be, in kbit/s. MPEG-1 (32 kHz and more) and the lower rates allow a part of it each."""

_MONO, _JOINT_STEREO = 3, 1
_FAST = 3
"""What the program `lame` takes by default, of 0 to 9."""

DELAY = 576
"""Samples that LAME puts before the sound."""
TAG_BYTES = 156
"""What the Xing and LAME tags take in their frame."""
CONSTANT, VARIABLE = 1, 4
"""How the LAME tag calls the two ways: CBR, and VBR by the newer algorithm (`lame -V`)."""


def rate_for(rate: int) -> int:
    """Return the lowest rate of MP3 that keeps all of the sound; above 48 kHz there is none but 48 kHz."""
    return next((allowed for allowed in RATES if allowed >= rate), RATES[-1])


def bitrate_for(bitrate: int, rate: int) -> int:
    """Return the bit rate of MP3 at this sample rate that is nearest."""
    allowed = _LONG if rate >= 32_000 else _SHORT if rate >= 16_000 else _SHORT[:8]
    return min(allowed, key=lambda one: abs(one - bitrate))


class Encoder:
    """Writes an MP3 to a seekable file: `write` the samples, then `close`.

    `quality` is 0 (best) to 9 for a variable bit rate, None for the constant `bitrate` in kbit/s. LAME lets other
    threads run. A decoder without the tag would give 1,105 samples of silence too many, at 8 kHz 138 ms, and could not
    tell the length of a variable bit rate; LAME writes none where a frame is too small for it, so it is made here.
    """

    def __init__(self, file: BinaryIO, rate: int, channels: int, bitrate: int, quality: int | None) -> None:
        self.file = file
        self.rate = rate
        self.channels = channels
        self.bitrate = bitrate_for(bitrate, rate)
        self.quality = quality
        self.samples = 0
        self.sizes = [(0, 0)]  # samples in, bytes out: for seeking
        self._lame = _lame()
        self._flags = self._lame.lame_init()
        if not self._flags:
            raise MemoryError("LAME has no memory for an encoder")
        settings = {
            "in_samplerate": rate,
            "out_samplerate": rate,
            "num_channels": channels,
            "mode": _MONO if channels == 1 else _JOINT_STEREO,
            "quality": _FAST,
            "bWriteVbrTag": 0,
        }
        settings |= {"brate": self.bitrate} if quality is None else {"VBR": VARIABLE, "VBR_q": quality}
        for name, value in settings.items():
            getattr(self._lame, f"lame_set_{name}")(self._flags, value)
        if self._lame.lame_init_params(self._flags) < 0:
            raise ValueError(f"LAME does not take {settings}")
        self.start = file.tell()
        file.write(bytes(self._frame_header()[1]))  # the tag's place

    def __del__(self) -> None:
        if flags := getattr(self, "_flags", None):
            self._lame.lame_close(flags)

    def write(self, sound: NDArray[np.float32]) -> None:
        """Encode frames × channels, full scale from -1 to 1; what is beyond it is kept for the decoder."""
        if not len(sound):
            return
        sound = np.ascontiguousarray(sound, np.float32)
        samples = sound.ctypes.data
        target = ctypes.create_string_buffer(len(sound) * 5 // 4 + 7200)  # lame.h: 1.25 × samples + 7200
        if self.channels == 1:
            size = self._lame.lame_encode_buffer_ieee_float(
                self._flags, samples, samples, len(sound), target, len(target)
            )
        else:
            size = self._lame.lame_encode_buffer_interleaved_ieee_float(
                self._flags, samples, len(sound), target, len(target)
            )
        self._put(target, size)
        self.samples += len(sound)
        self.sizes.append((self.samples, self.file.tell() - self.start))

    def close(self) -> None:
        """Write the last frames, and the tag before the first."""
        if not self.samples:
            self.write(np.zeros((1, self.channels), np.float32))
        target = ctypes.create_string_buffer(7200)
        self._put(target, self._lame.lame_encode_flush(self._flags, target, len(target)))
        end = self.file.tell()
        self.file.seek(self.start)
        self.file.write(self._tag(end - self.start))
        self.file.seek(end)

    def _put(self, data: "ctypes.Array[ctypes.c_char]", size: int) -> None:
        if size < 0:
            raise RuntimeError(f"LAME failed with {size}")
        self.file.write(memoryview(data)[:size])

    def _frame_samples(self) -> int:
        return 1152 if self.rate >= 32_000 else 576

    def _frame_header(self) -> tuple[bytes, int]:
        """Return the header of the smallest frame that holds the tag, and its size (ISO 11172-3, 13818-3)."""
        family = 0 if self.rate >= 32_000 else 1 if self.rate >= 16_000 else 2
        rates = ((44_100, 48_000, 32_000), (22_050, 24_000, 16_000), (11_025, 12_000, 8_000))[family]
        table = _SHORT if family else _LONG
        sizes = [self._frame_samples() // 8 * bitrate * 1000 // self.rate for bitrate in table]
        least = self.bitrate if self.quality is None else 0
        need = 4 + self._side_bytes() + TAG_BYTES
        index = next(i for i, size in enumerate(sizes) if size >= need and table[i] >= least)
        head = bytes((0xFF, (0xFB, 0xF3, 0xE3)[family], (index + 1) << 4 | rates.index(self.rate) << 2))
        return head + (b"\xc4" if self.channels == 1 else b"\x44"), sizes[index]

    def _side_bytes(self) -> int:
        """Return the size of the side information, which is left empty before the tag."""
        mono = self.channels == 1
        return (17 if mono else 32) if self.rate >= 32_000 else (9 if mono else 17)

    def _tag(self, size: int) -> bytes:
        """Return the frame with the Xing and LAME tags (gabriel.mp3-tech.org/mp3infotag.html)."""
        step = self._frame_samples()
        # As LAME flushes: whole frames, with at least 576 samples behind the sound.
        padding = step - (self.samples + DELAY) % step
        if padding < 576:
            padding += step
        frames = (self.samples + DELAY + padding) // step
        header, frame_size = self._frame_header()
        kind = b"Info" if self.quality is None else b"Xing"
        quality = 50 if self.quality is None else 100 - 10 * self.quality
        xing = kind + struct.pack(">III", 0xF, frames, size) + self._places(size) + struct.pack(">I", quality)
        tag = header + bytes(self._side_bytes()) + xing + self._lame_tag(padding, size)
        tag += struct.pack(">H", _crc16(tag))
        return tag.ljust(frame_size, b"\0")

    def _lame_tag(self, padding: int, size: int) -> bytes:
        """Return the LAME tag up to its own checksum; what is not measured, such as loudness, is 0."""
        method = CONSTANT if self.quality is None else VARIABLE
        rate = min(self.bitrate, 255) if self.quality is None else 0
        delays = (DELAY << 12 | padding).to_bytes(3, "big")
        return b"LAME3.100" + bytes((method, *bytes(10), rate)) + delays + bytes(4) + struct.pack(">IH", size, 0)

    def _places(self, size: int) -> bytes:
        """Return for each hundredth of the time where it is in the file, in 256ths: for seeking."""
        samples, sizes = np.array([*self.sizes, (self.samples, size)], float).T
        places = np.interp(np.arange(100) / 100 * self.samples, samples, sizes)
        return bytes(np.minimum(places * 256 / size, 255).astype(np.uint8))


def _crc16(data: bytes) -> int:
    """Return the CRC-16 of the tag (polynomial 0x8005, reflected)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


@cache
def _lame() -> ctypes.CDLL:
    """Load LAME itself (lame.h), out of the package `lameenc`, whose own interface takes 16 bits."""
    import lameenc

    library = ctypes.CDLL(lameenc.__file__)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.lame_init.restype = pointer
    library.lame_encode_buffer_ieee_float.argtypes = [pointer, pointer, pointer, number, pointer, number]
    library.lame_encode_buffer_interleaved_ieee_float.argtypes = [pointer, pointer, number, pointer, number]
    library.lame_encode_flush.argtypes = [pointer, pointer, number]
    for name in ("lame_init_params", "lame_close"):
        getattr(library, name).argtypes = [pointer]
    settings = ("in_samplerate", "out_samplerate", "num_channels", "mode", "quality", "bWriteVbrTag", "brate", "VBR")
    for setting in (*settings, "VBR_q"):
        getattr(library, f"lame_set_{setting}").argtypes = [pointer, number]
    return library
