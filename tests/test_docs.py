"""What the pages of docs/ show runs, and what they name is there."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"(?:<!-- (examples/\w+\.py) -->\n\n)?^```python\n(.*?)^```$", re.M | re.S)
PIPELINES = BLOCK.findall((ROOT / "docs" / "pipelines.md").read_text("utf-8"))
RUN = [text for source, text in PIPELINES if not source]
QUOTED = [(source, text) for source, text in PIPELINES if source]
EXTRAS = ("torchrl", "ray", "benchmarl")


def test_every_library_has_its_block() -> None:
    assert len(RUN) == 3
    assert [pathlib.Path(source).stem for source, _ in QUOTED] == [
        "rllib_multi_agent",
        "rllib_stacked",
        "benchmarl_ippo",
    ]


@pytest.mark.parametrize("text", RUN, ids=lambda text: text.split()[1].split(".")[0])
def test_a_block_runs(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for extra in EXTRAS:
        if extra in text and importlib.util.find_spec(extra) is None:
            pytest.skip(f"{extra} is not installed")
    exec(compile(text, "docs/pipelines.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize(("source", "text"), QUOTED, ids=[source for source, _ in QUOTED])
def test_a_quotation_is_of_its_script(source: str, text: str) -> None:
    """Each line stands in the script, in this order; arguments have their defaults."""
    script = (ROOT / source).read_text("utf-8")
    defaults = re.findall(r'add_argument\("--(\w+)".*?default=([^,)]+)', script)
    for name, value in defaults:
        script = script.replace(f"args.{name}", value)
    lines = iter(script.splitlines())
    missing = [line for line in text.splitlines() if line.strip() and line not in lines]
    assert not missing, f"not in {source}, or not in this order: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_files_are_there(page: pathlib.Path) -> None:
    text = page.read_text("utf-8")
    links = [to for to in re.findall(r"\]\(([^)\s#]+)", text) if not to.startswith("http")]
    assert [to for to in links if not (page.parent / to).exists()] == []
    folders = "feeders|envs|algorithms|baselines|experiments|examples|tests"
    named = re.findall(rf"`((?:{folders})/[\w/.]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tests_that_are_named_are_there(page: pathlib.Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", page.read_text("utf-8")))
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_every_page_is_in_the_navigation_and_on_the_first_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    first = (ROOT / "docs" / "index.md").read_text("utf-8")
    for page in PAGES:
        assert f"- {page.name}\n" in navigation
        assert page.stem == "index" or f"({page.name})" in first


@pytest.mark.parametrize("name", ["learning20", "learning100"])
def test_there_is_a_place_for_the_learning_curves(name: str) -> None:
    text = (ROOT / "docs" / "marl.md").read_text("utf-8")
    assert text.count(f"<!-- {name}:begin -->") == text.count(f"<!-- {name}:end -->") == 1
