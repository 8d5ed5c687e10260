"""Recordings: users with a token; WAV in, MP3 out, a link to download it."""
