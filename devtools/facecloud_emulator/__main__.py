"""Runs the emulator."""

from devtools.facecloud_emulator.command import facecloud_emulator

facecloud_emulator(prog_name="python -m devtools.facecloud_emulator")
