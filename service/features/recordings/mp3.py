"""MP3 out: LAME in this process, and the frame that tells players where the sound begins and ends."""

import struct
from typing import BinaryIO

import lameenc
import numpy as np

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_LONG = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_SHORT = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
BITRATES = tuple(sorted({*_LONG, *_SHORT}))
"""What a constant bit rate may be, in kbit/s. MPEG-1 (32 kHz and more) and the lower rates allow a part of it each."""

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
    """Writes an MP3 to a seekable file: `write` 16-bit samples, then `close`.

    `quality` is 0 (best) to 9 for a variable bit rate, None for the constant `bitrate` in kbit/s. LAME lets other
    threads run. A decoder without the tag would give 1,105 samples of silence too many, at 8 kHz 138 ms, and could not
    tell the length of a variable bit rate; `lameenc` writes none, so it is made here.
    """

    def __init__(self, file: BinaryIO, rate: int, channels: int, bitrate: int, quality: int | None) -> None:
        self.file = file
        self.rate = rate
        self.channels = channels
        self.bitrate = bitrate_for(bitrate, rate)
        self.quality = quality
        self.samples = 0
        self.sizes = [(0, 0)]  # samples in, bytes out: for seeking
        self.lame = lameenc.Encoder()
        self.lame.silence()
        self.lame.set_channels(channels)
        self.lame.set_in_sample_rate(rate)
        self.lame.set_out_sample_rate(rate)
        # 3 is what the program `lame` takes by default; the library's own default is half as fast.
        self.lame.set_quality(3)
        if quality is None:
            self.lame.set_bit_rate(self.bitrate)
        else:
            self.lame.set_vbr(VARIABLE)
            self.lame.set_vbr_quality(quality)
        self.start = file.tell()
        file.write(bytes(self._frame_header()[1]))  # the tag's place

    def write(self, samples: bytes) -> None:
        """Encode interleaved little-endian samples."""
        if not samples:
            return
        self.file.write(self.lame.encode(samples))
        self.samples += len(samples) // (2 * self.channels)
        self.sizes.append((self.samples, self.file.tell() - self.start))

    def close(self) -> None:
        """Write the last frames, and the tag before the first."""
        if not self.samples:
            self.write(bytes(2 * self.channels))
        self.file.write(self.lame.flush())
        end = self.file.tell()
        self.file.seek(self.start)
        self.file.write(self._tag(end - self.start))
        self.file.seek(end)

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
        tag = header + bytes(self._side_bytes()) + xing + self._lame(padding, size)
        tag += struct.pack(">H", _crc16(tag))
        return tag.ljust(frame_size, b"\0")

    def _lame(self, padding: int, size: int) -> bytes:
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
