"""Photos and faces for other programs, read back by these: COCO, Label Studio, FiftyOne, and XMP sidecars."""

import io
import json
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from service.errors import Unavailable
from service.features.faces.analyze.copies import Copies
from service.features.faces.annotations import FORMS, Annotated, coco
from service.features.faces.engines.engine import Detection, Detections
from service.imaging.pixel_budget import PixelBudget
from service.storage.spools import SpoolFolder
from tests.support import STORED, Client, photo
from tests.test_result_folder import analyze, faces_of

Box = tuple[float, float, float, float]
FACE = (1.0, 2.0, 30.0, 35.0)
"""The box of the engine of the tests, in the upright photo."""


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a photo of each EXIF orientation, and a sidecar of another program."""
    root = tmp_path_factory.mktemp("turned") / "photos"
    root.mkdir()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = (640, 480) if orientation < 5 else (480, 640)
        (root / f"{orientation}.jpg").write_bytes(photo(orientation, size, exif=exif))
    (root / "9.jpg").write_bytes(photo(9, (640, 480)))
    (root / "9.jpg.xmp").write_text("<x:xmpmeta x:xmptk='another program'/>\n")
    return root


@pytest.fixture(scope="module")
def result(turned: Path) -> Path:
    """Give a result with all that is made for other programs."""
    forms = [word for form in FORMS for word in ("--export", form)]
    ended = analyze(turned.parent / "result", turned, *forms, "--xmp")
    assert ended.exit_code == 0, ended.output
    assert "1 sidecars of other programs were left as they are." in ended.stderr
    return turned.parent / "result"


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def opened_by_pycocotools(document: Path) -> COCO:
    with redirect_stdout(io.StringIO()):
        return COCO(str(document))


def test_pycocotools_reads_every_box_as_it_was_found(result: Path, turned: Path) -> None:
    coco = opened_by_pycocotools(result / "exports" / "coco.json")
    images = {image["id"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert {image["file_name"] for image in images.values()} == {str(path) for path in turned.glob("*.jpg")}
    assert {(image["width"], image["height"]) for image in images.values()} == {(640, 480)}
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [overlap(one["bbox"], FACE) for one in annotations] == [1.0] * 9
    assert annotations[0]["attributes"] == {
        "number": 1, "gender": "male", "male_probability": 0.75, "age": 70.0, "age_low": 60.0, "age_high": 80.0,
    }  # fmt: skip


def test_label_studio_and_fiftyone_have_the_box_in_parts_of_the_upright_photo(result: Path, turned: Path) -> None:
    tasks = json.loads((result / "exports" / "labelstudio.json").read_text())
    assert tasks[0]["data"]["image"] == f"/data/local-files/?d={str(turned / '1.jpg').lstrip('/')}"
    for task in tasks:
        ((region,),) = (prediction["result"] for prediction in task["predictions"])
        value, size = region["value"], (region["original_width"], region["original_height"])
        assert size == (640, 480)
        box = (value["x"] * 6.4, value["y"] * 4.8, value["width"] * 6.4, value["height"] * 4.8)
        assert overlap(box, FACE) == pytest.approx(1.0, abs=1e-9)
    document = json.loads((result / "exports" / "fiftyone.json").read_text())
    assert len(document["labels"]) == 9
    for path, ((label,),) in ((path, (labels,)) for path, labels in document["labels"].items()):
        assert Path(path).is_file()
        x, y, width, height = label["bounding_box"]
        assert overlap((x * 640, y * 480, width * 640, height * 480), FACE) == pytest.approx(1.0, abs=1e-9)


def stored(orientation: int, box: Box) -> Box:
    """Return where a box of an upright photo of 640 × 480 is in the stored one, by turning a picture that shows it."""
    picture = Image.new("L", (640, 480))
    picture.paste(255, tuple(int(edge) for edge in (box[0], box[1], box[0] + box[2], box[1] + box[3])))
    turn = STORED[orientation]
    edges = (picture if turn is None else picture.transpose(turn)).getbbox()
    assert edges
    return edges[0], edges[1], edges[2] - edges[0], edges[3] - edges[1]


def test_exiftool_reads_regions_that_lie_in_the_stored_photo_of_every_orientation(result: Path, turned: Path) -> None:
    exiftool = shutil.which("exiftool")
    if not exiftool:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    files = [str(turned / f"{orientation}.jpg.xmp") for orientation in range(1, 9)]
    read = subprocess.run([exiftool, "-json", "-struct", "-n", *files], capture_output=True, check=True, timeout=60)
    for orientation, document in enumerate(json.loads(read.stdout), 1):
        regions = document["RegionInfo"]
        size = (regions["AppliedToDimensions"]["W"], regions["AppliedToDimensions"]["H"])
        assert size == ((640, 480) if orientation < 5 else (480, 640))
        (region,) = regions["RegionList"]
        area = region["Area"]
        width, height = area["W"] * size[0], area["H"] * size[1]
        box = (area["X"] * size[0] - width / 2, area["Y"] * size[1] - height / 2, width, height)
        assert overlap(box, stored(orientation, FACE)) == pytest.approx(1.0, abs=1e-5)
        assert (region["Type"], region["Description"]) == ("Face", "male, 70")


def test_sidecars_are_written_again_only_for_photos_that_changed(result: Path, turned: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in turned.glob("*.xmp")}
    (turned / "2.jpg").write_bytes(photo(22, (640, 480)))
    assert analyze(result, turned, "--xmp").exit_code == 0
    changed = [path.name for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert changed == ["2.jpg.xmp"]
    assert (turned / "9.jpg.xmp").read_text() == "<x:xmpmeta x:xmptk='another program'/>\n"
    assert len(faces_of(result)) == 9


def test_a_photo_without_faces_and_none_at_all_are_documents_too(tmp_path: Path) -> None:
    spools = SpoolFolder(tmp_path, 1_000)
    empty = Annotated("a.jpg", "/a.jpg", 64, 48, [])
    for form, make in FORMS.items():
        assert json.loads(b"".join(make([], spools))) is not None, form
        assert json.loads(b"".join(make([empty, empty], spools))), form


@pytest.mark.parametrize("form", list(FORMS))
def test_a_task_is_handed_on_in_the_same_forms(client: Client, tmp_path: Path, form: str) -> None:
    task = client.run(photo(1, (640, 480)))
    answer = client.get(f"/api/v1/tasks/{task['id']}/annotations.json", params={"format": form})
    assert answer.status_code == 200, answer.text
    assert f'filename="{form}.json"' in answer.headers["Content-Disposition"]
    image = next(image for image in task["images"] if image["status"] == "done")
    if form == "coco":
        (tmp_path / "coco.json").write_bytes(answer.content)
        coco = opened_by_pycocotools(tmp_path / "coco.json")
        assert [one["file_name"] for one in coco.imgs.values()] == ["0.jpg"]
        boxes = [tuple(one["bbox"]) for one in coco.anns.values()]
        assert boxes == [tuple(one["bbox"][side] for side in ("x", "y", "width", "height")) for one in image["faces"]]
    elif form == "labelstudio":
        (one,) = answer.json()
        assert one["data"]["image"].endswith(f"/api/v1/tasks/{task['id']}/images/{image['id']}/content")
        assert client.get(one["data"]["image"].removeprefix(client.url)).content == photo(1, (640, 480))
    else:
        assert [len(labels) for labels in answer.json()["labels"].values()] == [len(image["faces"])]
        assert list(answer.json()["labels"]) == ["0"]
    wrong = client.get(f"/api/v1/tasks/{task['id']}/annotations.json", params={"format": "voc"})
    assert (wrong.status_code, wrong.json()["errors"][0]["parameter"]) == (422, "format")


def test_copies_hide_the_faces_and_are_not_taken_for_photos(tmp_path: Path) -> None:
    root, result = tmp_path / "photos", tmp_path / "result"
    root.mkdir()
    (root / "a.jpg").write_bytes(photo(1, (640, 480)))
    (root / "b.png").write_bytes(photo(2, (640, 480), form="PNG"))
    options = (root, "--blur", root / "copies", "--style", "solid")
    assert analyze(result, *options).exit_code == 0
    copies = [root / "copies" / str(path).lstrip("/") for path in (root / "a.jpg", root / "b.png.copy.jpg")]
    for copy in copies:
        with Image.open(copy) as picture:
            assert (picture.format, picture.size) == ("JPEG", (640, 480))
            assert all(abs(value - 0x76) < 8 for value in picture.convert("RGB").getpixel((16, 20)))
    assert "2 photos, 2 of them done and unchanged." in analyze(result, *options).stderr
    (root / "b.png").write_bytes(b"no photo any more")
    assert analyze(result, *options).exit_code == 1
    assert [copy.exists() for copy in copies] == [True, False]
    ended = analyze(result, root)
    assert (ended.exit_code, "was made with another copies" in ended.stderr) == (2, True)


def test_faces_are_cut_out_beside_the_result_and_follow_a_changed_photo(tmp_path: Path) -> None:
    root, result = tmp_path / "photos", tmp_path / "result"
    root.mkdir()
    (root / "a.jpg").write_bytes(photo(1, (640, 480)))
    (root / "a.png").write_bytes(photo(2, (640, 480), form="PNG"))
    assert analyze(result, root, "--crops").exit_code == 0
    folder = result / "crops" / str(root).lstrip("/")
    assert sorted(path.name for path in folder.iterdir()) == ["a.png.copy_1.jpg", "a_1.jpg"]
    assert sorted(path.name for path in root.iterdir()) == ["a.jpg", "a.png"]
    with Image.open(folder / "a_1.jpg") as face:
        assert (face.format, face.size) == ("JPEG", (51, 45))  # turned; the box and its margin of 14
    before = (folder / "a_1.jpg").stat().st_mtime_ns
    assert "2 photos, 2 of them done and unchanged." in analyze(result, root, "--crops").stderr
    assert (folder / "a_1.jpg").stat().st_mtime_ns == before
    (root / "a.jpg").write_bytes(b"no photo any more")
    assert analyze(result, root, "--crops").exit_code == 1
    assert sorted(path.name for path in folder.iterdir()) == ["a.png.copy_1.jpg"]

    one = Detection(1, 2, 30, 35, "male", 70.0, 0.9)
    copies, image = Copies(crops=tmp_path / "crops"), photo(1, (640, 480))
    for faces in (4, 2):
        copies.write("/photos/b.jpg", PixelBudget(), image, Detections([one] * faces))
    made = sorted((tmp_path / "crops" / "photos").iterdir())
    assert [path.name for path in made] == ["b_1.jpg", "b_2.jpg"]
    with Image.open(made[0]) as face:
        assert face.size == (45, 51)


def test_the_images_of_a_coco_document_wait_beside_the_store_and_count_among_what_does(tmp_path: Path) -> None:
    photos = [Annotated(f"{number}.jpg", "", 40, 30, []) for number in range(100)]
    spools = SpoolFolder(tmp_path / "spools", 1_000)
    with pytest.raises(Unavailable):
        list(coco(photos, spools))
    spools.take(1_000)  # what was counted has been given back
    assert not any((tmp_path / "spools").glob("*"))
    document = json.loads(b"".join(coco(photos, SpoolFolder(tmp_path, 100_000))))
    assert [image["id"] for image in document["images"]] == [*range(1, 101)]
