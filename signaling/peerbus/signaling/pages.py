"""
The built web assets over HTTP: pages, their scripts, and the browser SDK.

Owns the addresses, caching and the content security policy. Never builds anything, and serves only files that the
build's manifest names: a path in a request is looked up, not opened. See RFC 9111.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from peerbus.signaling.assets import MANIFEST

_CSP: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_FILE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    # The SDK is loaded by pages of other origins.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-cache",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".map": "application/json",
    ".ts": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}


class _Manifest(msgspec.Struct, frozen=True):
    version: str
    files: list[str]


class Pages:
    """The assets below one folder. `add_to` puts their routes into an application."""

    def __init__(self, folder: Path) -> None:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)
        self._files: Final = {name: folder / name for name in manifest.files}

    def add_to(self, app: web.Application) -> None:
        """Adds a route for each kind of file, and one for each page."""
        for name in self._files:
            if name.startswith("pages/") and name.endswith(".html"):
                page = name.removeprefix("pages/").removesuffix(".html")
                app.router.add_get("/" if page == "index" else f"/{page}", self._page)
        app.add_routes(
            [
                web.get("/sdk/{name:.+}", self._file),
                web.get("/js/{name:.+}", self._file),
                web.get("/assets/{name:.+}", self._file),
                web.get("/static/{name:.+}", self._file),
                web.get("/favicon.ico", self._file),
            ]
        )

    async def _page(self, request: web.Request) -> web.StreamResponse:
        page = request.path.strip("/") or "index"
        return self._answer(f"pages/{page}.html", _PAGE_HEADERS)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        folder, _, name = request.path.removeprefix("/").partition("/")
        if folder == "favicon.ico":
            return self._answer("static/favicon.ico", _FILE_HEADERS)
        if folder == "assets":
            return self._answer(f"assets/{name}", {**_FILE_HEADERS, "Cache-Control": _FOR_EVER})
        return self._answer(f"{'sdk' if folder == 'js' else folder}/{name}", _FILE_HEADERS)

    def _answer(self, name: str, headers: dict[str, str]) -> web.StreamResponse:
        path = self._files.get(name)
        if path is None:
            raise web.HTTPNotFound(text="There is nothing at this address.\n")
        suffix = path.suffix.lower()
        kind = _TYPES.get(suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        response = web.FileResponse(path, headers=headers)
        response.content_type = kind
        if kind.startswith("text/") or kind == "application/json":
            response.charset = "utf-8"
        return response
