"""Shortages of this machine: memory, open files, threads. None of them is a fault of what a client sent."""

import errno
import mmap

_SHORT = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EAGAIN)
_WORDS = ("can't start new thread", "out of memory")
"""Of Python and of libvips, whose errors have nothing else to tell them by."""
SLACK = 32_000_000
"""Bytes that a library takes beside the data that it works on."""


def is_shortage(error: BaseException) -> bool:
    """Return whether this is what a lack of memory, open files or threads raises."""
    if isinstance(error, OSError):
        return error.errno in _SHORT
    return isinstance(error, MemoryError) or any(words in str(error) for words in _WORDS)


def has_memory(size: int) -> bool:
    """Return whether this process can have so many bytes now, and some more for the library that asks for them."""
    try:
        mmap.mmap(-1, size + SLACK).close()
    except (OSError, MemoryError):
        return False
    return True


def check_memory(size: int = 0) -> None:
    """Raise MemoryError unless this process can have so many bytes.

    Decoders without memory often say that their input is damaged. Who hears that asks here before believing it.
    """
    if not has_memory(size):
        raise MemoryError(f"no memory for {size} bytes")
