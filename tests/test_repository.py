"""What is in the repository: nothing that is secret, and nothing of the place where it was written."""

import re
import subprocess

import yaml  # type: ignore[import-untyped]

from tests.support import ROOT

SECRETS = {
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a key of a cloud": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of a code host": rb"\b(?:gh[pousr]_[0-9A-Za-z]{30,}|glpat-[0-9A-Za-z_-]{20,}|xox[abp]-[0-9A-Za-z-]{10,})",
    "a signed token": rb"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}",
    "a password in an address": rb"\b(?:https?|rediss?|amqp|postgresql(?:\+\w+)?)://(?!(?i:user:password)@)[^\s:/@\"'{}<$]+:[^\s:/@\"'{}<$]{6,}@",
    "a setting with its secret": rb"(?m)^(?:[A-Z_]*(?:PASSWORD|SECRET|TOKEN)[A-Z_]*)=[0-9A-Za-z_-]{12,}\s*$",
}
PLACES = {
    "a path of somebody's machine": rb"(?<![\w.:/*}])(?:/(?:home|Users|root|work)/\w|[A-Z]:\\Users\\)",
    "a package registry": rb"\b(?:pypi|pythonhosted|npmjs|crates|rubygems|proxy\.golang)\.(?:org|com|io)\b",
    "a package registry of one's own": rb"\bindex-url\b",
}
BINARY = (".png", ".jpg", ".onnx", ".wav", ".webp", ".ico")


def tracked() -> list[str]:
    """Return the repository's files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def findings(patterns: dict[str, bytes]) -> list[str]:
    return [
        f"{name}: {what}: {found[0].decode('utf-8', 'replace')}"
        for name in tracked()
        if not name.endswith(BINARY)
        for what, pattern in patterns.items()
        if (found := re.search(pattern, (ROOT / name).read_bytes()))
    ]


def test_no_file_has_a_secret_or_what_looks_like_one() -> None:
    assert len(tracked()) > 50
    assert findings(SECRETS) == []
    assert not [name for name in tracked() if re.search(r"(?:^|/)\.env$|\.(?:pem|key|p12|db|sqlite3?)$", name)]


def test_no_file_tells_of_the_place_where_it_was_written() -> None:
    assert findings(PLACES) == []


def test_volumes_that_our_containers_write_to_begin_as_folders_of_the_images_user() -> None:
    image, compose = (ROOT / "Dockerfile").read_text(), yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    user = re.search(r"^USER (\d+):(\d+)$", image, re.MULTILINE)
    made = re.findall(r"^RUN install -d (?:-m 700 )?-o (\d+) -g (\d+) (.+)$", image, re.MULTILINE)
    assert user
    assert {(owner, group) for owner, group, _ in made} == {user.groups()}
    written = {"/data", *(volume.split(":")[1] for volume in compose["services"]["setup"]["volumes"])}
    assert written == {folder for *_, folders in made for folder in folders.split()}


def test_the_patterns_find_what_they_are_for() -> None:
    planted = {
        "a private key": b"-----BEGIN RSA " + b"PRIVATE KEY-----",
        "a key of a cloud": b"AKIA" + b"A" * 16,
        "a token of a code host": b"ghp_" + b"a" * 36,
        "a signed token": b".".join([b"eyJ" + b"a" * 12] * 2 + [b"b" * 20]),
        "a password in an address": b"postgresql://someone:" + b"something@db",
        "a setting with its secret": b"API_PASSWORD=" + b"a" * 16,
        "a path of somebody's machine": b" /ho" + b"me/ada",
        "a package registry": b"https://files.python" + b"hosted.org/packages",
        "a package registry of one's own": b"--extra-index" + b"-url",
    }
    for what, text in planted.items():
        assert re.search((SECRETS | PLACES)[what], text), what
