"""gunicorn's own threads; as many processes, threads and connections as the service has by default."""

import os

wsgi_app = "wsgi:app"
bind = f"127.0.0.1:{os.environ['PORT']}"
workers = int(os.environ["WEB_CONCURRENCY"])
threads = 16
worker_connections = 500
keepalive = 30
loglevel = "warning"
control_socket_disable = True
