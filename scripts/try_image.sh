#!/usr/bin/env bash
# Builds the image, starts it with a read-only root file system, runs a task with the samples through it, and ends it.
# ENGINE: docker (the default where its daemon answers) or podman. BUILD: another command that builds IMAGE.
set -euo pipefail
cd "$(dirname "$0")/.."
IMAGE=${IMAGE:-media-service}
PORT=${PORT:-18000}
if [ -z "${ENGINE:-}" ]; then ENGINE=$(docker info >/dev/null 2>&1 && echo docker || echo podman); fi
${BUILD:-$ENGINE build --tag} "$IMAGE" .
size=$("$ENGINE" image inspect --format '{{.Size}}' "$IMAGE")
echo "image: $((size / 1000000)) MB"

password=$(python3 -c 'import secrets; print(secrets.token_urlsafe(12))')
container=$("$ENGINE" run --detach --read-only --tmpfs /tmp --publish "127.0.0.1:$PORT:8000" --env API_PASSWORD="$password" "$IMAGE")
trap '"$ENGINE" rm --force --volumes "$container" >/dev/null' EXIT
url=http://127.0.0.1:$PORT
for _ in $(seq 300); do curl --silent --fail --output /dev/null "$url/readyz" && break; sleep 0.1; done
curl --silent --show-error --fail "$url/readyz" || { "$ENGINE" logs "$container"; exit 1; }
echo

call() { curl --silent --show-error --fail --user "admin:$password" "$@"; }
member() { python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
task=$(call --request POST "$url/api/v1/tasks" | member id)
call --output /dev/null --form image=@samples/astronaut.png --form image=@samples/group.jpg "$url/api/v1/tasks/$task/images"
call --output /dev/null --request POST "$url/api/v1/tasks/$task/start"
for _ in $(seq 600); do
    status=$(call "$url/api/v1/tasks/$task" | member status)
    [ "$status" = processing ] || break
    sleep 0.1
done
call "$url/api/v1/tasks/$task" | member statistics
[ "$status" = completed ] || { "$ENGINE" logs "$container"; exit 1; }

"$ENGINE" exec "$container" sh -c 'test "$(id -u)" != 0 && ! touch /app/x 2>/dev/null && ! command -v gcc' \
    || { echo "it runs as root, can write to its own files, or has a compiler"; exit 1; }
began=$(date +%s)
"$ENGINE" stop --time 30 "$container" >/dev/null
echo "stopped in $(($(date +%s) - began)) s"
