"""`headcount report`: a result as one page that needs no other file, and as a table."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from service.app import create_app
from service.config import Settings
from service.db.database import Database
from service.http.services import provided
from tests.support import ROOT, Client, free_port, photo, wait_for
from tests.test_result_folder import Ended, analyze


def report(result: Path, *arguments: object) -> Ended:
    app = create_app(Settings(api_password="", database_url=f"sqlite:///{result.parent}/none.db"))
    try:
        return app.test_cli_runner().invoke(args=["faces", "report", str(result), *map(str, arguments)])
    finally:
        provided(Database, app).close()


def test_the_page_has_numbers_ages_failures_and_methods_and_needs_no_other_file(tmp_path: Path) -> None:
    root, result = tmp_path / "photos", tmp_path / "result"
    root.mkdir()
    for number in range(5):
        (root / f"{number}.jpg").write_bytes(photo(number))
    (root / "<script>.jpg").write_bytes(b"")
    os.link(root / "1.jpg", root / "link.jpg")
    assert analyze(result, root, "--dedupe").exit_code == 1
    ended = report(result)
    assert ended.exit_code == 0, ended.output
    assert "7 photos: 5 done, 1 failed, 1 duplicates." in ended.stdout
    assert "100.0%" in ended.stdout
    page = (result / "report.html").read_text("utf-8")
    assert re.findall(r"(?:src|href)=", page) == []
    assert "<script" not in page
    for said in ("Faces in 7 photos", "70.0", "70–79", "image_rejected", "by the engine tests.custom_engine:Full"):
        assert said in page, said
    assert "Photos with the same bytes count once." in page
    assert report(result, "--out", tmp_path / "page.html").exit_code == 0
    assert (tmp_path / "page.html").read_text("utf-8") == page


def test_a_folder_without_a_result_is_said_to_have_none(tmp_path: Path) -> None:
    ended = report(tmp_path)
    assert (ended.exit_code, "has no result" in ended.stderr) == (2, True)


def test_a_result_without_faces_has_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(photo(1)[:-200])
    assert analyze(tmp_path / "result", tmp_path / "photos").exit_code == 1
    assert report(tmp_path / "result").exit_code == 0
    assert "0 faces were found in 0 photos" in (tmp_path / "result" / "report.html").read_text("utf-8")


@pytest.mark.server
def test_a_checked_sample_gives_the_report_intervals(tmp_path: Path) -> None:
    root, result, port = tmp_path / "photos", tmp_path / "result", free_port()
    root.mkdir()
    for number in range(40):
        (root / f"{number}.jpg").write_bytes(photo(number))
    assert analyze(result, root).exit_code == 0
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "WEB_CONCURRENCY": "1", "API_PASSWORD": "a password"}
    command = [sys.executable, "-m", "service", "review", str(result), "--photos", "32", "--seed", "7"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            told = next(line for line in process.stdout if "Check the sample at" in line)
            task, review = re.search(r"/tasks/([^/]+)/review/([^/.]+)", told).groups()  # type: ignore[union-attr]
            client = Client(f"http://localhost:{port}", "a password")
            wait_for(lambda: ready(client), what="the start of the page")
            drawn = client.get(f"/api/v1/tasks/{task}/reviews/{review}").json()
            assert (drawn["photos"], drawn["seed"]) == (32, 7)
            image = client.get(f"/api/v1/tasks/{task}/images/{drawn['images'][0]}").json()
            assert (image["faces"][0]["gender"], image["faces"][0]["bbox"]["width"]) == ("male", 30)
            assert (root / Path(image["name"]).name).read_bytes() == client.get(
                f"/api/v1/tasks/{task}/images/{image['id']}/content"
            ).content
            for number, image_id in enumerate(drawn["images"]):
                if number < 8:
                    face = f"/api/v1/tasks/{task}/images/{image_id}/faces/1"
                    assert client.patch(face, json={"gender": "female"}).status_code == 200
                assert client.put(f"/api/v1/tasks/{task}/reviews/{review}/images/{image_id}").status_code == 204
        finally:
            process.terminate()
    ended = report(result)
    assert ended.exit_code == 0, ended.output
    assert re.search(r"women_share: 0\.25, with 95% confidence from 0\.1\d* to 0\.\d+\.", ended.stdout), ended.stdout
    page = (result / "report.html").read_text("utf-8")
    assert "32 photos of a random sample were checked." in page
    assert "Nobody has checked these faces." not in page
    (root / "new.jpg").write_bytes(photo(41))
    assert analyze(result, root).exit_code == 0
    assert "The result has changed since a sample of it was drawn" in report(result).stdout


def ready(client: Client) -> bool:
    with suppress(requests.ConnectionError):
        return client.get("/readyz").ok
    return False
