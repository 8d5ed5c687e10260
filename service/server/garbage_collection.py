"""Python's garbage collector: idle while the application is imported, which leaves no garbage.

Looking through what was imported takes a tenth of the start. Later it would also copy the memory that the processes of
a server share after the fork.
"""

import gc

gc.disable()


def begin() -> None:
    """Collect garbage from now on, without looking at what is there already."""
    gc.freeze()
    gc.enable()
