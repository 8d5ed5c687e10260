"""`flask faces …`: photos where they are, without a server."""

from service.cli.output import Group
from service.features.faces.commands.analyze import analyze

faces = Group("faces", help="Faces in photos where they are, without a server.")
faces.add_command(analyze)
