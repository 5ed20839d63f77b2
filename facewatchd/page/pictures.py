"""Pictures: a face, or the whole photo that shows it, by the id of the face. No address has a path of a photo.

In one catalog an id always means the same face of the same bytes, so a browser may keep a picture whose address names
the catalog for as long as the page is used.
"""

from __future__ import annotations

import base64

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.page import catalogs, view
from facewatchd.page.view import Room

SIZES = (96, 192, 256, 384, 512, 1024, 1600, 2048)
"""Pixels of the longer side that may be asked for: few, so that each is made once."""
KEPT = "private, max-age=1800, immutable"
"""`Cache-Control` of a picture."""


async def face(request: Request) -> Response:
    """Return a face with a margin."""
    return await _picture(request, photo=None)


async def photo(request: Request) -> Response:
    """Return the whole photo that shows a face."""
    return await _picture(request, photo=True)


async def _picture(request: Request, *, photo: bool | None) -> Response:
    size, word = known_size(request), request.query_params.get("catalog", "")
    await catalogs.check(request, word)
    made = await view.daemon(request).call("thumbnail", face_id=request.path_params["face_id"], size=size, photo=photo)
    return jpeg(base64.b64decode(made["jpeg"]), is_kept=bool(word))


def jpeg(data: bytes, *, is_kept: bool = True) -> Response:
    """Return a picture. ``is_kept``: whether the browser may keep it."""
    return Response(data, media_type="image/jpeg", headers={"cache-control": KEPT} if is_kept else {})


def known_size(request: Request) -> int:
    """Return the size in a picture's address. Raises HTTPException for one that is not in `SIZES`."""
    size = int(request.path_params["size"])
    if size not in SIZES:
        raise HTTPException(404)
    return size


ROOM = Room(
    [
        Route("/face/{face_id:number}/{size:number}.jpg", face),
        Route("/face/{face_id:number}/photo/{size:number}.jpg", photo),
    ]
)
