"""The formats of pictures, read without decoding."""
