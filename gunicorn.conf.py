"""gunicorn reads this file by itself; what it says is in service/server/gunicorn.py."""

from service.server.gunicorn import server_settings
from wsgi import app, settings

globals().update(server_settings(app, settings))
