"""Make `group.jpg` and `landscape.png` again: `python samples/make_group.py`."""

from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).parent

# What is cut out (left, top, right, bottom in pixels), how high it becomes, and whether it looks the other way.
PEOPLE = (
    ("astronaut.png", (98, 0, 338, 300), 400, False),
    ("grace_hopper.jpg", (96, 40, 436, 465), 360, False),
    ("astronaut.png", (98, 0, 338, 300), 320, True),
    ("grace_hopper.jpg", (96, 40, 436, 465), 300, True),
)
GAP = 24


def group() -> Image.Image:
    """Stand the people of the two photos side by side, twice, on grey."""
    people = []
    for name, box, height, mirrored in PEOPLE:
        person = Image.open(HERE / name).convert("RGB").crop(box)
        person = person.resize((round(person.width * height / person.height), height), Image.Resampling.LANCZOS)
        people.append(person.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else person)
    width = GAP + sum(person.width + GAP for person in people)
    photo = Image.new("RGB", (width, 2 * GAP + max(person.height for person in people)), "#8a9096")
    left = GAP
    for person in people:
        photo.paste(person, (left, photo.height - GAP - person.height))
        left += person.width + GAP
    return photo


def landscape() -> Image.Image:
    """Draw a sky, a sun and hills: a picture without a face."""
    width, height = 480, 320
    sky = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge(
        "RGB", (sky.point(lambda v: 90 + v // 2), sky.point(lambda v: 150 + v // 4), sky.point(lambda v: 235))
    )
    draw = ImageDraw.Draw(picture)
    draw.ellipse((350, 40, 410, 100), fill="#ffe28a")
    draw.polygon([(0, 240), (120, 150), (260, 250), (360, 180), (480, 240), (480, 320), (0, 320)], fill="#4f7a5a")
    draw.polygon([(0, 290), (160, 230), (330, 290), (480, 250), (480, 320), (0, 320)], fill="#38603f")
    return picture


if __name__ == "__main__":
    group().save(HERE / "group.jpg", "JPEG", quality=85)
    landscape().save(HERE / "landscape.png", "PNG", optimize=True)
