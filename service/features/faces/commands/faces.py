"""`flask faces …`: photos where they are, without a server."""

from service.cli.output import Group
from service.features.faces.commands.analyze import analyze
from service.features.faces.commands.report import report
from service.features.faces.commands.watch import watch

faces = Group("faces", help="Faces in photos where they are, without a server.")
for command in (analyze, watch, report):
    faces.add_command(command)
