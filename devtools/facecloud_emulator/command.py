"""The command that runs the emulator: `python -m devtools.facecloud_emulator`, or `flask facecloud-emulator`."""

import click


@click.command("facecloud-emulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8001, show_default=True, help="The port to listen on; 0 takes a free one.")
@click.option(
    "--faces",
    type=click.Choice(("engine", "scripted")),
    default="engine",
    show_default=True,
    help="Look for faces with the embedded engine, or make them up.",
)
@click.option("--latency", default=0.0, show_default=True, help="Seconds that each detect call takes at least.")
@click.option("--max-bytes", default=20_971_520, show_default=True, help="Larger images are answered with 413.")
@click.option("--email", default="developer@example.com", show_default=True, help="The account that may log in.")
@click.option("--password", help="Without it every account may, with any password.")
@click.option("--decode", is_flag=True, help="Decode images in full though the faces are made up.")
def facecloud_emulator(
    *,
    host: str,
    port: int,
    faces: str,
    latency: float,
    max_bytes: int,
    email: str,
    password: str | None,
    decode: bool,
) -> None:
    """Stand in for FaceCloud, for development and tests."""
    # Here, so that whoever only lists this command does not load the emulator, nor the networks who makes faces up.
    from devtools.facecloud_emulator.app import Emulator
    from devtools.facecloud_emulator.server import serve

    engine = None
    if faces == "engine":
        from service.features.faces.engines.local import LocalEngine

        engine = LocalEngine()
    emulator = Emulator(
        engine,
        email=email,
        password=password,
        latency=latency,
        max_bytes=max_bytes,
        decode=decode or engine is not None,
    )
    serve(emulator, host, port)
