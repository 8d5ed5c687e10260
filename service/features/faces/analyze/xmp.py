"""Faces as XMP sidecars beside the photos, in the regions of the Metadata Working Group (guidelines 2.0, section 5).

Regions are in the photo as it is stored, before its EXIF orientation is applied: so do Lightroom and digiKam.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from service.errors import Problem
from service.features.faces.analyze.tables import write_whole
from service.imaging.structure import read_structure

SUFFIX = ".xmp"
MARK = 'x:xmptk="Headcount'
"""Stands in the first line of sidecars that are made here; others are left as they are."""

_HEAD = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" {MARK}">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
    xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#">
   <mwg-rs:Regions rdf:parseType="Resource">
    <mwg-rs:AppliedToDimensions stDim:w="%d" stDim:h="%d" stDim:unit="pixel"/>
    <mwg-rs:RegionList>
     <rdf:Bag>
"""
_REGION = """      <rdf:li>
       <rdf:Description mwg-rs:Type="Face" mwg-rs:Description=%s>
        <mwg-rs:Area stArea:x="%s" stArea:y="%s" stArea:w="%s" stArea:h="%s" stArea:unit="normalized"/>
       </rdf:Description>
      </rdf:li>
"""
_TAIL = """     </rdf:Bag>
    </mwg-rs:RegionList>
   </mwg-rs:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def write_sidecar(photo: Path, faces: Iterable[dict[str, Any]], mtime_ns: int) -> bool:
    """Write the sidecar of a photo, as `photo.jpg.xmp`; return whether it is ours now.

    One of another program is left as it is, and so is ours where it is younger than the photo. Raises `OSError`.
    """
    sidecar = photo.with_name(photo.name + SUFFIX)
    if sidecar.exists():
        with sidecar.open(encoding="utf-8", errors="replace") as opened:
            if MARK not in opened.readline():
                return False
        if sidecar.stat().st_mtime_ns > mtime_ns:
            return True
    try:
        with photo.open("rb") as stream:
            header = read_structure(stream, photo.name)
    except Problem:
        return True  # it has changed since it was looked at; the next run looks again
    text = sidecar_text(faces, (header.width, header.height), header.orientation)
    write_whole(sidecar, lambda file: file.write_text(text, "utf-8"))
    return True


def sidecar_text(faces: Iterable[dict[str, Any]], size: tuple[int, int], orientation: int) -> str:
    """Return a sidecar for a photo of this size as stored, given its faces in the upright one."""
    regions = [_REGION % (quoteattr(_told(face)), *_area(face["bbox"], size, orientation)) for face in faces]
    return _HEAD % size + "".join(regions) + _TAIL


def _told(face: dict[str, Any]) -> str:
    return face["gender"] if face["age"] is None else f"{face['gender']}, {face['age']:.0f}"


def _area(box: dict[str, int], size: tuple[int, int], orientation: int) -> tuple[str, str, str, str]:
    """Return centre and sides of a box in the upright photo, as parts of the stored photo's sides."""
    width, height = size if orientation < 5 else (size[1], size[0])
    x, y = (box["x"] + box["width"] / 2) / width, (box["y"] + box["height"] / 2) / height
    sides = (box["width"] / width, box["height"] / height)
    # What each EXIF orientation does to a point when it is undone.
    stored = {
        1: (x, y), 2: (1 - x, y), 3: (1 - x, 1 - y), 4: (x, 1 - y),
        5: (y, x), 6: (y, 1 - x), 7: (1 - y, 1 - x), 8: (1 - y, x),
    }[orientation]  # fmt: skip
    values = (*stored, *(sides if orientation < 5 else sides[::-1]))
    left, top, wide, high = (f"{value:.9f}" for value in values)
    return left, top, wide, high
