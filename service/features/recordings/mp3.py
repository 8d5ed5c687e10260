"""MP3 out: LAME in this process, with samples as floats, so that all their bits reach it."""

import ctypes
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
_VARIABLE = 4
"""LAME's number for the newer algorithm of a variable bit rate (`lame -V`)."""
_FAST = 3
"""What the program `lame` takes by default, of 0 to 9."""
_MOST_FRAME = 2880
"""No frame of an MP3 has more bytes, the one with LAME's tag neither."""


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
    threads run. Its tag in the first frame tells players where the sound begins and ends, and how to seek.
    """

    def __init__(self, file: BinaryIO, rate: int, channels: int, bitrate: int, quality: int | None) -> None:
        self.file = file
        self.channels = channels
        self.samples = 0
        self.start = file.tell()
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
            # Keeping the tags of ID3 to others, LAME writes nothing but the sound and its own tag.
            "write_id3tag_automatic": 0,
        }
        settings |= {"brate": bitrate_for(bitrate, rate)} if quality is None else {"VBR": _VARIABLE, "VBR_q": quality}
        for name, value in settings.items():
            getattr(self._lame, f"lame_set_{name}")(self._flags, value)
        if self._lame.lame_init_params(self._flags) < 0:
            raise ValueError(f"LAME does not take {settings}")

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

    def close(self) -> None:
        """Write the last frames, and the tag into the first."""
        if not self.samples:
            self.write(np.zeros((1, self.channels), np.float32))
        target = ctypes.create_string_buffer(7200)
        self._put(target, self._lame.lame_encode_flush(self._flags, target, len(target)))
        end = self.file.tell()
        tag = ctypes.create_string_buffer(_MOST_FRAME)
        size = self._lame.lame_get_lametag_frame(self._flags, tag, len(tag))
        self.file.seek(self.start)
        self.file.write(tag.raw[:size])
        self.file.seek(end)

    def _put(self, data: "ctypes.Array[ctypes.c_char]", size: int) -> None:
        if size < 0:
            raise RuntimeError(f"LAME failed with {size}")
        self.file.write(memoryview(data)[:size])


@cache
def _lame() -> ctypes.CDLL:
    """Load LAME itself, out of the package `lameenc`, whose own interface takes 16 bits and writes no tag."""
    import lameenc

    library = ctypes.CDLL(lameenc.__file__)
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.lame_init.restype = pointer
    library.lame_get_lametag_frame.restype = size
    library.lame_get_lametag_frame.argtypes = [pointer, pointer, size]
    library.lame_encode_buffer_ieee_float.argtypes = [pointer, pointer, pointer, number, pointer, number]
    library.lame_encode_buffer_interleaved_ieee_float.argtypes = [pointer, pointer, number, pointer, number]
    library.lame_encode_flush.argtypes = [pointer, pointer, number]
    for name in ("lame_init_params", "lame_close"):
        getattr(library, name).argtypes = [pointer]
    for setting in ("in_samplerate", "out_samplerate", "num_channels", "mode", "quality", "brate", "VBR", "VBR_q"):
        getattr(library, f"lame_set_{setting}").argtypes = [pointer, number]
    library.lame_set_write_id3tag_automatic.argtypes = [pointer, number]
    return library
