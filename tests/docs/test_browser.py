"""The built site in headless Chromium: no error, no dead link, search, no sideways scrolling, accessibility, formulas.

`make docs-test` builds the site and runs this; NLCORE_DOCS_SITE names the folder. Screenshots are left in
NLCORE_DOCS_SHOTS if that is set.
"""

from __future__ import annotations

import functools
import html
import os
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the extra `docs` is not installed; see `make docs-test`"
)
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
SITE = Path(os.environ.get("NLCORE_DOCS_SITE", "site")).resolve()
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

pytestmark = [
    pytest.mark.skipif("NLCORE_DOCS_SITE" not in os.environ, reason="there is no built site; run `make docs-test`"),
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium; `make docs-test` installs it"),
]

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES = tuple(
    sorted("" if page.parent == SITE else f"{page.parent.relative_to(SITE)}/" for page in SITE.rglob("index.html"))
)
SHOWN = ("", "concepts/default/", "guides/curvature/", "algorithms/", "algorithms/sorting/neuralsort-v1/", "results/")
DEVICES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(_Quiet, directory=str(SITE))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=BROWSER, args=list(_FLAGS))
        yield found
        found.close()


@pytest.fixture
def open_page(browser, address):
    """Open a page and collect what goes wrong on it."""
    contexts = []

    def opened(path, device="desktop", scheme="light"):
        width, height = DEVICES[device]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on("console", lambda told: told.type in {"error", "warning"} and page.faults.append(told.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda one: one.url.startswith(address) or page.faults.append(f"asks for {one.url}"))
        page.on("response", lambda one: one.status < 400 or page.faults.append(f"{one.status} {one.url}"))
        page.goto(address + path, wait_until="load")
        return page

    yield opened
    for context in contexts:
        context.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("path", PAGES)
def test_the_page_is_sound(open_page, path, device):
    page = open_page(path, device)
    _keep(page, f"{path.strip('/').replace('/', '-') or 'index'}-{device}-light")
    assert page.faults == []
    assert page.locator("article h1").count() == 1
    wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= room, f"{wide} pixels wide in {room}: {_widest(page)}"
    _check_text(page)


@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_read_the_page(open_page, path):
    """Contrast, alternative texts, order of headings and the like, by axe."""
    page = open_page(path)
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("path", SHOWN)
def test_the_page_is_sound_on_dark(open_page, path, device):
    page = open_page(path, device, "dark")
    _keep(page, f"{path.strip('/').replace('/', '-') or 'index'}-{device}-dark")
    assert page.faults == []
    assert page.get_attribute("body", "data-md-color-scheme") == "slate"


def _check_text(page):
    """Assert that no formula is left as LaTeX."""
    text = page.evaluate(
        """() => [...document.querySelectorAll('article *')].flatMap(e => [...e.childNodes])
        .filter(n => n.nodeType === 3 && !n.parentElement.closest('pre, code, script'))
        .map(n => n.textContent).join(' ')"""
    )
    assert not re.search(r"\\\(|\\\[|\$\$|\\frac|\\sum", text)


@pytest.mark.parametrize("path", ["concepts/newton-loss/", "concepts/default/", "algorithms/sorting/neuralsort-v1/"])
def test_formulas_are_drawn(open_page, path):
    page = open_page(path)
    sizes = page.evaluate(
        "() => [...document.querySelectorAll('article math')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(sizes) > 2
    assert min(sizes) > 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_fits_the_scheme(open_page, scheme):
    page = open_page("algorithms/sorting/neuralsort-v1/", scheme=scheme)
    shown = [one for one in page.locator("article img").all() if one.is_visible()]
    assert [one.get_attribute("src").partition("#")[0] for one in shown] == [f"../neuralsort-v1-{scheme}.png"]
    shown[0].scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].filter(i => i.offsetParent).every(i => i.naturalWidth > 300)")


def test_the_scheme_can_be_switched(open_page):
    page = open_page("")
    page.locator("label[title='Switch to dark']").click()
    assert page.get_attribute("body", "data-md-color-scheme") == "slate"
    assert page.faults == []


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("word", ["neuralsort", "top-k", "padding", "simulator", "NewtonLoss"])
def test_search_finds(open_page, device, word):
    page = open_page("", device)
    if device == "phone":
        page.locator("label.md-header__button[for='__search']").click()
    page.locator("input.md-search__input").click()
    page.keyboard.type(word)
    # What the first letters found is replaced as the others come; has_text takes no notice of case.
    page.locator(".md-search-result__list", has_text=word).wait_for(timeout=20_000)
    assert page.faults == []


def test_a_result_of_the_search_opens(open_page):
    page = open_page("")
    page.locator("input.md-search__input").click()
    page.keyboard.type("neuralsort")
    page.locator(".md-search-result__item a").first.click()
    page.wait_for_url("**neuralsort**")


def test_no_link_is_dead(address):
    """Every link and every anchor of every page of the site leads somewhere on it."""
    pages = {path: path.read_text("utf-8") for path in SITE.rglob("*.html")}
    anchors = {path: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for path, text in pages.items()}
    dead = []
    for path, text in pages.items():
        here = address + str(path.relative_to(SITE)).removesuffix("index.html")
        for link in set(re.findall(r'\b(?:href|src)="([^"]+)"', text)):
            target = urlsplit(urljoin(here, html.unescape(link)))
            if not target.geturl().startswith(address) or path.name == "404.html":
                continue
            file = SITE / unquote(target.path).lstrip("/")
            file = file / "index.html" if file.is_dir() else file
            fragment = unquote(target.fragment)
            in_page = file.suffix == ".html" and fragment and not fragment.startswith("__")
            if not file.exists() or (in_page and fragment not in anchors[file]):
                dead.append(f"{path.relative_to(SITE)}: {link}")
    assert len(pages) > 30
    assert dead == []


def test_every_fence_became_a_block():
    pages = list(SITE.rglob("index.html"))
    assert len(pages) > 60
    for page in pages:
        shown = re.sub(r"<pre.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "```" not in shown, page


def test_the_list_for_language_models_is_whole():
    listed = set(re.findall(r"\]\(([^)]+)\)", (SITE / "llms.txt").read_text("utf-8")))
    built = {str(path.parent.relative_to(SITE)) + "/" for path in SITE.rglob("index.html")}
    assert {path.removeprefix("./") for path in built} - {path.removeprefix("./") for path in listed} == set()
    assert "(C + λI)⁻¹∇ℓ" in (SITE / "llms-full.txt").read_text("utf-8")


def _keep(page, name):
    if folder := os.environ.get("NLCORE_DOCS_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def _widest(page):
    return page.evaluate(
        """() => [...document.querySelectorAll('article *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .slice(0, 3).map(e => e.outerHTML.slice(0, 120))"""
    )
