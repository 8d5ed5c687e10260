"""WAV to MP3: mixed down, resampled where MP3 needs it, a block at a time."""

import math
from typing import BinaryIO

import numpy as np
import soxr

from service.errors import TooLarge
from service.features.recordings import mp3, samples, wav

# Left and right gain of each speaker in the order of the channel mask (ITU-R BS.775: 3 dB less for what both get).
# The bass channel is kept too: it would be lost otherwise.
_LEFT, _RIGHT, _BOTH, _BASS = (1.0, 0.0), (0.0, 1.0), (0.7071, 0.7071), (0.5, 0.5)
_BEHIND_LEFT, _BEHIND_RIGHT = (0.7071, 0.0), (0.0, 0.7071)
_SPEAKERS = (
    *(_LEFT, _RIGHT, _BOTH, _BASS, _BEHIND_LEFT, _BEHIND_RIGHT, _LEFT, _RIGHT, _BOTH, _BEHIND_LEFT, _BEHIND_RIGHT),
    *(_BOTH, _LEFT, _BOTH, _RIGHT, _BEHIND_LEFT, _BOTH, _BEHIND_RIGHT),
)
_USUAL_MASKS = {3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}
"""What so many channels mean where the header does not say: 3.0, quadraphonic, 5.0, 5.1, 6.1, 7.1."""


def read_header(stream: BinaryIO, most_seconds: float) -> tuple[wav.Wave, float]:
    """Return what the WAV's header says, and its seconds; raises UnsupportedType, Invalid and TooLarge."""
    wave = wav.read_header(stream)
    seconds = samples.count(stream, wave) / wave.rate
    if seconds > most_seconds:
        has = math.ceil(seconds * 10) / 10  # rounded up, so that it never seems to be within the limit
        raise TooLarge(
            f"The recording is too long: it has {has:.10g} seconds; at most {most_seconds:.10g} are accepted."
            " Make it shorter.",
            limit=most_seconds,
        )
    return wave, seconds


def convert(stream: BinaryIO, wave: wav.Wave, file: BinaryIO, bitrate: int, quality: int | None) -> None:
    """Write the sound as MP3 to a seekable file; only a block of it is in memory. Bit rate and quality as `Encoder`."""
    channels = min(wave.channels, 2)
    rate = mp3.rate_for(wave.rate)
    encoder = mp3.Encoder(file, rate, channels, bitrate, quality)
    gains = down_mix(wave.channels, wave.speakers)
    resampler = soxr.ResampleStream(wave.rate, rate, channels, dtype="float32") if rate != wave.rate else None
    for block in samples.blocks(stream, wave):
        sound = block if gains is None else block @ gains
        encoder.write(resampler.resample_chunk(sound) if resampler else sound)
    if resampler:
        encoder.write(resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True))
    encoder.close()


def down_mix(channels: int, speakers: int) -> samples.Samples | None:
    """Return the gains, channels × 2, that mix to stereo; None where there is nothing to mix.

    No channel is lost. All gains are divided by the greater of the two sums, so that no mix can clip. Channels without
    a speaker go left and right by turns.
    """
    if channels <= 2:
        return None
    mask = speakers or _USUAL_MASKS.get(channels, 0)
    placed = [gain for bit, gain in enumerate(_SPEAKERS) if mask >> bit & 1][:channels]
    placed += [(_LEFT, _RIGHT)[number % 2] for number in range(channels - len(placed))]
    gains = np.array(placed, np.float32)
    mixed: samples.Samples = gains / gains.sum(0).max()
    return mixed
