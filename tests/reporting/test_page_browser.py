"""The page in a real browser: headless Chromium, one for all these tests."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from bench.records.collect import Records
from bench.reporting.figures.inks import INKS
from bench.reporting.figures.style import PAGE, canvas, save, styled
from bench.reporting.page import write_page
from tests.reporting.page_records import made_up

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the dev extras")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver (Debian: chromium, chromium-driver)"
    ),
]

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

EVIL = [
    "<script>window.broken = 1</script>",
    '"><img src=x onerror="window.broken = 1">',
    "</noscript><script>window.broken = 1</script>",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of three scenarios: five strategies of all sorts, a chain, and hostile titles on another device."""
    five = made_up(["fast", "good", "fair", "weak", "late"], scenario="five", points=20)
    for frame in (five.trials, five.evals):  # no seed in common with scratch
        frame.loc[frame["strategy"] == "late", "seed"] += 100
    parts: list[Records] = [
        made_up(["fast", "weak"], scenario="chain", updates=3),
        five,
        made_up(list("abc"), scenario="hostile", titles=dict(zip("abc", EVIL, strict=True)), device="Another card"),
    ]
    folder = tmp_path_factory.mktemp("page")
    figure = folder / "five" / "accuracy-flops.svg"
    figure.parent.mkdir()
    with styled(PAGE):
        drawn, (axes,) = canvas(PAGE, 2.0)
        for ink in INKS:
            axes.plot([0, 1], [0, 1], color=ink.colour)
        save(drawn, [figure])
    return write_page(parts, folder, [figure]).as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page as it was just loaded, at 1280 x 900 in light colours; afterwards it has logged nothing."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    look(browser)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []
    assert requests(browser) <= {address}


def requests(browser: Any) -> set[str]:
    """Return what was requested since the log was last read, except what the page or the browser itself contains.

    On a slow machine the browser's own first tab is still loading (chrome://) when the page is.
    """
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    found = {each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"}
    return {url.split("#")[0] for url in found if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))}


def look(browser: Any, *, width: int = 1280, scheme: str = "light", media: str = "") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def board(page: Any, scenario: str) -> Any:
    title = f"//section[h2[normalize-space()='Scenario {scenario}']]"
    return page.find_element(By.XPATH, f"{title}//table[contains(@class, 'leaderboard')]")


def column(table: Any, heading: str) -> list[str]:
    """Return a column's cells, of the rows that can be seen."""
    headings = [each.text for each in table.find_elements(By.CSS_SELECTOR, "thead th")]
    rows = table.find_elements(By.CSS_SELECTOR, "tbody.entry > tr:first-child")
    return [
        row.find_elements(By.CSS_SELECTOR, "th, td")[headings.index(heading)].text.splitlines()[0]
        for row in rows
        if row.is_displayed()
    ]


def header(table: Any, heading: str) -> Any:
    return next(each for each in table.find_elements(By.CSS_SELECTOR, "button.sort") if each.text == heading)


def sorted_as(table: Any, heading: str) -> str | None:
    return header(table, heading).find_element(By.XPATH, "..").get_attribute("aria-sort")


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a busy browser: it answers events, and stores a choice, a little later."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "the page never came to it"
        time.sleep(0.05)


def rows_said(page: Any) -> str:
    return page.find_element(By.CSS_SELECTOR, ".tools output").text


def test_numbers_sort_as_numbers_with_bounds_below_and_empty_cells_last(page: Any):
    table = board(page, "five")
    assert column(table, "speedup, FLOPs") == ["1.00", "2.50", "2.00", "< 2.00", "< 2.00", "-"]
    assert sorted_as(table, "rank") == "ascending"  # the reference, which has no rank, stands above
    header(table, "speedup, FLOPs").click()
    assert column(table, "speedup, FLOPs") == ["< 2.00", "< 2.00", "1.00", "2.00", "2.50", "-"]
    assert (sorted_as(table, "speedup, FLOPs"), sorted_as(table, "rank")) == ("ascending", None)
    header(table, "speedup, FLOPs").click()
    assert column(table, "speedup, FLOPs") == ["2.50", "2.00", "1.00", "< 2.00", "< 2.00", "-"]
    assert sorted_as(table, "speedup, FLOPs") == "descending"
    header(table, "cost, FLOPs").click()
    costs = [float(text) for text in column(table, "cost, FLOPs") if text != "-"]
    assert costs == sorted(costs)


def test_a_header_sorts_by_the_keyboard(page: Any):
    table = board(page, "five")
    header(table, "strategy").send_keys(Keys.ENTER)
    names = column(table, "strategy")
    assert names == sorted(names)
    header(table, "strategy").send_keys(Keys.SPACE)
    assert column(table, "strategy") == names[::-1]
    assert page.switch_to.active_element == header(table, "strategy")


def test_filters_leave_what_matches_and_count_it(page: Any):
    eventually(lambda: rows_said(page) == "19 rows")
    text = page.find_element(By.NAME, "text")
    text.send_keys("FAST")
    eventually(lambda: rows_said(page) == "4 of 19 rows")
    assert column(board(page, "five"), "strategy") == ["fast"]
    assert not board(page, "hostile").is_displayed()
    page.find_element(By.CSS_SELECTOR, ".tools button[type=reset]").click()
    eventually(lambda: rows_said(page) == "19 rows")
    page.find_element(By.XPATH, "//select[@name='device']/option[.='Another card']").click()
    eventually(lambda: rows_said(page) == "4 of 19 rows")
    assert board(page, "hostile").is_displayed()
    page.find_element(By.CSS_SELECTOR, ".tools button[type=reset]").click()
    page.find_element(By.XPATH, "//select[@name='scenario']/option[.='chain']").click()
    eventually(lambda: rows_said(page) == "9 of 19 rows")
    assert not board(page, "five").is_displayed()


def test_a_row_opens_and_closes_by_the_keyboard(page: Any):
    button = board(page, "five").find_elements(By.CSS_SELECTOR, "button.open")[1]
    details = page.find_element(By.ID, button.get_attribute("aria-controls"))
    assert (button.get_attribute("aria-expanded"), details.is_displayed()) == ("false", False)
    button.send_keys(Keys.ENTER)
    assert (button.get_attribute("aria-expanded"), details.is_displayed()) == ("true", True)
    assert "bench run --scenario ./five.toml --strategy ./fast.py --horizon 0.5 --seeds 0-2" in details.text
    assert "torch 2.6.0" in details.text
    button.send_keys(Keys.SPACE)
    assert (button.get_attribute("aria-expanded"), details.is_displayed()) == ("false", False)


def test_an_opened_row_stays_with_its_strategy_when_sorted(page: Any):
    table = board(page, "five")
    table.find_elements(By.CSS_SELECTOR, "button.open")[1].click()
    header(table, "speedup, FLOPs").click()
    opened = table.find_element(By.CSS_SELECTOR, "button.open[aria-expanded=true]")
    after = opened.find_element(By.XPATH, "ancestor::tr/following-sibling::tr")
    assert (opened.text, after.get_attribute("id")) == ("fast", opened.get_attribute("aria-controls"))
    assert after.is_displayed()


def test_hostile_titles_stay_text_in_opened_rows_too(page: Any):
    page.find_element(By.NAME, "open").click()
    text = board(page, "hostile").text
    for evil in EVIL:
        assert text.count(evil) >= 2  # in the row and in its details
    assert page.execute_script("return window.broken") is None
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1440, 390])
def test_the_page_never_scrolls_sideways_and_figures_have_its_ground(page: Any, width: int, scheme: str):
    look(page, width=width, scheme=scheme)
    page.find_element(By.NAME, "open").click()
    wide, seen = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= seen == width  # less by a scroll bar's width, where there is one
    assert page.execute_script(_OUTSIDE) == []
    assert_figure_fits(page, "#ffffff" if scheme == "light" else "#12161b")


# What reaches over an edge of the page without lying in an area that scrolls by itself.
_OUTSIDE = """
return [...document.querySelectorAll("body *")].filter((each) => each.checkVisibility() && !each.closest(".scroll, pre, .skip"))
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5).map((each) => each.outerHTML.slice(0, 80));
"""


def assert_figure_fits(page: Any, ground: str) -> None:
    """The figure's own ground is the page's, and its letters are told from it."""
    shot = Image.open(io.BytesIO(page.find_element(By.CSS_SELECTOR, "figure img").screenshot_as_png)).convert("RGB")
    pixels, counts = np.unique(np.asarray(shot).reshape(-1, 3), axis=0, return_counts=True)
    assert tuple(pixels[counts.argmax()]) == ImageColor.getrgb(ground)
    assert np.ptp(pixels.sum(axis=1, dtype=int)) > 3 * 100


def test_figures_follow_the_colours_that_were_chosen(page: Any):
    button = page.find_element(By.NAME, "theme")
    button.click()
    assert_figure_fits(page, "#ffffff")
    button.click()
    assert button.text == "Colours: dark"
    assert_figure_fits(page, "#12161b")
    page.execute_script("localStorage.clear()")


def test_a_phones_first_screen_shows_strategy_and_speedup(page: Any):
    look(page, width=390)
    rows = page.find_elements(By.CSS_SELECTOR, ".summary tbody tr")
    texts = [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]
    assert ["five", "fast", "2.50"] in texts
    bottom = page.execute_script("return arguments[0].getBoundingClientRect().bottom", rows[-1])
    assert bottom < 844 - 120  # of a phone, less its browser's bars


def test_a_link_to_a_row_opens_it_whatever_was_filtered(page: Any, address: str):
    row = board(page, "five").find_elements(By.CSS_SELECTOR, "tbody.entry")[2]
    link = row.find_element(By.CSS_SELECTOR, "a.link").get_attribute("href")
    assert link.startswith(f"{address}#five/")
    page.find_element(By.NAME, "text").send_keys("nothing of this name")
    eventually(lambda: rows_said(page) == "0 of 19 rows")
    page.execute_script("location = arguments[0]", link)
    eventually(lambda: row.find_element(By.CSS_SELECTOR, ".details").is_displayed())
    assert rows_said(page) == "19 rows"
    top = page.execute_script("return arguments[0].getBoundingClientRect().top", row)
    assert 0 <= top < 900


def test_a_phone_scrolls_tables(page: Any):
    look(page, width=390)
    page.find_element(By.NAME, "open").click()
    scroll = board(page, "five").find_element(By.XPATH, "..")
    assert page.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", scroll)
    behind = scroll.find_element(By.CSS_SELECTOR, ".behind")
    assert behind.size["width"] <= 390


_CONTRASTS = """
const channels = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (text) => channels(text).slice(0, 3).map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
const clear = (text) => channels(text)[3] === 0;
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.tagName === "NOSCRIPT" || !element.checkVisibility()) continue;
  let ground = element;
  while (ground && clear(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
  const below = getComputedStyle(ground ?? document.documentElement).backgroundColor;
  const [one, other] = [getComputedStyle(element).color, below].map(light);
  found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), element.tagName, element.textContent.slice(0, 40)]);
}
return found.sort((one, other) => one[0] - other[0]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast_in_the_systems_colours(page: Any, scheme: str):
    look(page, scheme=scheme)
    page.find_element(By.CSS_SELECTOR, "button.open").click()
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    contrasts = page.execute_script(_CONTRASTS)
    assert len(contrasts) > 100
    assert contrasts[0][0] >= 4.5, contrasts[0]  # WCAG 2.2, AA


def test_a_choice_of_colours_survives_reloading_the_page(page: Any):
    look(page, scheme="dark")
    button = page.find_element(By.NAME, "theme")
    assert button.text == "Colours: system"
    button.click()
    assert button.text == "Colours: light"
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"

    def reloaded_in_light() -> bool:
        page.refresh()
        return page.find_element(By.NAME, "theme").text == "Colours: light"

    eventually(reloaded_in_light)
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    eventually(lambda: rows_said(page) == "19 rows")
    page.execute_script("localStorage.clear()")


def test_the_keyboard_starts_at_a_link_past_the_tools(page: Any):
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = page.switch_to.active_element
    assert link.text == "Skip to the tables"
    assert link.location["x"] >= 0
    width = page.execute_script("return getComputedStyle(arguments[0]).outlineStyle", link)
    assert width == "solid"
    link.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.get_attribute("id") == "main"


def test_printed_pages_have_full_tables_and_no_tools(page: Any):
    look(page, scheme="dark", media="print")
    assert not page.find_element(By.CSS_SELECTOR, ".tools").is_displayed()
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    scroll = board(page, "five").find_element(By.XPATH, "..")
    assert scroll.value_of_css_property("overflow") == "visible"


def test_without_scripts_everything_can_be_read(browser: Any, address: str):
    look(browser)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        behind = browser.find_elements(By.CSS_SELECTOR, ".behind")
        assert len(behind) == 19
        assert all(each.is_displayed() for each in behind)
        assert "bench run --scenario ./five.toml" in board(browser, "five").text
        assert not browser.find_element(By.CSS_SELECTOR, ".tools").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
