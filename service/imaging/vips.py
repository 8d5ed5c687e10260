"""libvips, loaded with the first picture that it decodes: after a fork, and for those processes only that get one."""

from typing import Any

from service.once import Once


@Once
def vips() -> Any:
    """Return pyvips: one thread a picture, nothing remembered, and no decoders but three."""
    import pyvips

    # Between two of the calls below all decoders are blocked, so nobody may see pyvips before the last one.
    # The pool has as many threads as there are cores to use. And no two pictures are the same.
    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for decoder in ("Jpeg", "Png", "Webp"):
        pyvips.operation_block_set(f"VipsForeignLoad{decoder}", False)
    return pyvips
