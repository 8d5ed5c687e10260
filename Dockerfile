# The service, for web servers and workers alike. It runs as nobody's user, and with a read-only root file system:
#   docker run --read-only --tmpfs /tmp -v data:/data -p 8000:8000 -e API_PASSWORD=… IMAGE
# Where the registry can be reached, name the base image by its digest in both lines below, so that a build gives the
# same image each time: `docker buildx imagetools inspect docker.io/library/python:3.11-slim-bookworm` prints it, and
# `python:3.11-slim-bookworm@sha256:…` uses it.
FROM docker.io/library/python:3.11-slim-bookworm AS packages
COPY requirements.txt /requirements.txt
# pyvips has no wheel and compiles nothing; everything else must come built, since there is no compiler here.
# The environment has no pip of its own, so none of it reaches the image that runs.
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: --no-binary pyvips -r /requirements.txt \
    && find /opt/venv -name tests -type d -prune -exec rm -rf {} + \
    # Of Amazon's services two are used, and of onnxruntime what runs networks: 30 MB less.
    && find /opt/venv/lib/python3.11/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts -exec rm -rf {} + \
    && rm -rf /opt/venv/lib/python3.11/site-packages/onnxruntime/transformers

FROM docker.io/library/python:3.11-slim-bookworm
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY wsgi.py gunicorn.conf.py ./
COPY service service
COPY devtools devtools
# A start need not compile them then: it is a fifth of its work.
RUN python -m compileall -q wsgi.py gunicorn.conf.py service devtools
# A volume begins as a copy of the folder that it covers, its owner included; without one it would be root's.
RUN install -d -o 10001 -g 10001 /secrets /handed-out/service /handed-out/postgres /handed-out/redis /handed-out/s3
RUN install -d -m 700 -o 10001 -g 10001 /data
# Where rows and files are elsewhere, what is on its way in still lies in the volume, and not in /tmp.
RUN ln -s /data storage
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATABASE_URL=sqlite:////data/service.db \
    STORAGE_URL=/data/files
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
# A worker is the same image with another command: flask jobs work
# gunicorn reads WEB_CONCURRENCY by itself and wants a number, which an empty line of an --env-file is not.
CMD ["sh", "-c", "export WEB_CONCURRENCY=${WEB_CONCURRENCY:-2} && flask database upgrade && exec gunicorn"]
