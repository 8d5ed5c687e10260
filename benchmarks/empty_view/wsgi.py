"""The application: it reads each request, and answers with as many bytes as `?bytes=` says."""

from flask import Flask, Response, request

app = Flask(__name__)


@app.route("/", defaults={"_path": ""}, methods=["GET", "POST"])
@app.route("/<path:_path>", methods=["GET", "POST"])
def answer(_path: str) -> Response:
    """Return bytes without a meaning."""
    request.get_data(cache=False)
    return Response(bytes(request.args.get("bytes", 0, int)), mimetype="application/json")
