"""The commands that are no feature's."""

from service.cli.bucket import bucket
from service.cli.database import database
from service.cli.doctor import doctor
from service.cli.jobs import jobs

COMMANDS = (bucket, database, doctor, jobs)
