"""The docs: links lead somewhere, pictures are there, and the first example prints what it says."""

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

from cconv.doctor.kinds import KINDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
DOCTOR = DOCS / "doctor.md"

pytestmark = pytest.mark.skipif(not DOCTOR.exists(), reason="the docs are not here")


def prose(page):
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def links(page):
    return [link for link in re.findall(r"\]\(([^()\s]+)\)", prose(page)) if "://" not in link]


def anchors(page):
    """What a link can name: titles as GitHub makes anchors of them, and those set by hand."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return made | set(re.findall(r'<a id="([^"]+)">', page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["README.md", *sorted(f"docs/{page.name}" for page in DOCS.glob("*.md"))])
def test_links_lead_somewhere(name):
    page, lost = ROOT / name, []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if target.suffix == ".png" or (name == "README.md" and DOCS not in target.parents):
            continue  # what may be missing where the package is tested without its checkout
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def test_pictures_are_there_and_named():
    if not PICTURES.is_dir():
        pytest.skip("the source archive has no pictures")
    named = {page.parent / link for page in DOCS.glob("*.md") for link in links(page) if link.endswith(".png")}
    assert named == set(PICTURES.iterdir())
    drawn = re.findall(r"^@picture\ndef (\w+)", (DOCS / "pictures.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert {f"{name.replace('_', '-')}.png" for name in drawn} == {path.name for path in named}
    for path in named:
        assert path.stat().st_size < 30_000, path
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width <= 900, path


def test_a_kinds_picture_is_in_its_section_and_says_what_is_to_be_seen():
    for section in DOCTOR.read_text(encoding="utf-8").split('\n<a id="')[1:]:
        kind = section.partition('"')[0]
        for alt, picture in re.findall(r"!\[([^\]]*)\]\(pictures/(.*)\.png\)", section):
            assert picture == kind and kind in KINDS and len(alt) > 40


def test_the_contents_list_every_kind_under_its_heading():
    text = DOCTOR.read_text(encoding="utf-8")
    contents = re.findall(r"^- \[(.*)\]\(#.*?\): (.*(?:\n  .*)*)", text, re.MULTILINE)
    listed = {heading: re.findall(r"\[(.*?)\]", kinds) for heading, kinds in contents}
    sections: dict[str, list[str]] = {}
    for level, title in re.findall(r"^(##+) (.*)$", text, re.MULTILINE):
        if level == "##":
            heading = title
        else:
            sections.setdefault(heading, []).append(title)
    assert listed == sections


def test_the_first_example_prints_what_it_says(capsys):
    pytest.importorskip("sklearn")
    example, told = re.findall(r"^```(?:python|text)\n(.*?)^```$", DOCTOR.read_text(encoding="utf-8"), re.M | re.S)[:2]
    exec(example, {})
    assert _without_time(capsys.readouterr().out) == _without_time(told)


def _without_time(text):
    return re.sub(r", [\d.]+ s\)", ")", text)


@pytest.mark.slow
def test_the_pictures_can_be_made(tmp_path):
    pytest.importorskip("matplotlib")
    script = DOCS / "pictures.py"
    if not script.exists():
        pytest.skip("the source archive has no pictures")
    runpy.run_path(str(script))["main"](["--folder", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in PICTURES.iterdir()}
