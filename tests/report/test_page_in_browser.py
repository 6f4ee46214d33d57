"""``refine.py report=true`` as a user would run it, its page opened in headless Chromium."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>document.title='run'</script><img src='https://example.org/x' onerror=\"document.title='run'\">"


def refine_process(toy, folder, *overrides):
    command = [sys.executable, ROOT / "refine.py", f"images={toy.images}", f"predictions={toy.predictions}"]
    command += [
        "patch.size=32",
        "input_size=32",
        f"output={folder / 'refined.json'}",
        f"hydra.run.dir={folder / 'run'}",
    ]
    command += ["threads=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "report=true", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BPR_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def requests(browser):
    """Addresses that were asked for, but for pictures in the page itself and Chromium's own first tab."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {url for url in sent if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))}


def table(browser, name):
    rows = browser.find_elements(By.CSS_SELECTOR, f"#{name} tr")
    return [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]


def test_the_page_shows_what_was_printed_and_asks_for_nothing(toy_coco, tmp_path, browser):
    content = json.loads(toy_coco.annotations.read_text())
    content["categories"][0]["name"] = HOSTILE
    toy_coco.annotations.write_text(json.dumps(content))
    printed = refine_process(
        toy_coco,
        tmp_path,
        f"annotations={toy_coco.annotations}",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "trust=false",
    )
    page = tmp_path / "refined.html"
    assert printed.count(f"report: {page}\n") == 1  # one of the two processes writes it

    browser.get(page.as_uri())

    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert requests(browser) == {page.as_uri()}
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) >= 8
    assert all(image.get_property("naturalWidth") > 0 for image in images)
    rows = [line.strip("|").split("|") for line in printed.splitlines() if line.startswith("|") and "---" not in line]
    assert table(browser, "score-table") == [[cell.strip() for cell in row] for row in rows]
    assert dict(table(browser, "summary-table"))["Instances"] == "12"
    assert browser.title == "Refinement report: refined.json"
    classes = [row[0] for row in table(browser, "class-table")[2:]]
    assert classes == [HOSTILE, "disk"]
    assert any(HOSTILE in caption.text for caption in browser.find_elements(By.TAG_NAME, "figcaption"))
    settings = browser.find_element(By.ID, "settings-text").text
    assert "taper: null" in settings
    assert next(line for line in printed.splitlines() if line.startswith("network: ")) in settings
    width = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0  # nothing sticks out
    check_slider(browser)
    check_contrast(browser, dark=False)
    check_contrast(browser, dark=True)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def check_slider(browser):
    """Keys move the border between coarse and refined, in this figure alone; the two pictures lie on each other."""
    first, second = browser.find_elements(By.CLASS_NAME, "compare")[:2]
    refined, coarse = first.find_elements(By.TAG_NAME, "img")
    assert (refined.get_attribute("alt"), coarse.get_attribute("alt")) == ("refined", "coarse")
    assert refined.rect == coarse.rect
    assert coarse.value_of_css_property("clip-path") == "inset(0px 50% 0px 0px)"
    slider = first.find_element(By.TAG_NAME, "input")
    slider.send_keys(Keys.END)
    assert coarse.value_of_css_property("clip-path") in ("inset(0px 0% 0px 0px)", "inset(0px)")
    slider.send_keys(Keys.HOME)
    assert coarse.value_of_css_property("clip-path") == "inset(0px 100% 0px 0px)"
    other = second.find_elements(By.TAG_NAME, "img")[1]
    assert other.value_of_css_property("clip-path") == "inset(0px 50% 0px 0px)"
    middle = first.rect["width"] // 4
    ActionChains(browser).move_to_element_with_offset(slider, middle, 0).click().perform()
    assert 70 <= int(slider.get_property("value")) <= 80


def check_contrast(browser, dark):
    """Text is light on dark, or dark on light, as the browser asks for."""
    preferred = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    paper, *inks = browser.execute_script(
        "return [getComputedStyle(document.body).backgroundColor, ...Array.from("
        "document.querySelectorAll('h1, .remark, a, td, th, figcaption, pre'), found => getComputedStyle(found).color)]"
    )
    assert len(inks) > 50
    for ink in set(inks):
        lighter, darker = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 4.5, (ink, paper)
        assert (luminance(ink) > luminance(paper)) == dark


def luminance(colour):
    """WCAG's relative luminance, in [0, 1], of a colour as CSS writes it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_without_annotations_there_is_a_page_too(toy_coco, tmp_path, refine, capsys, browser):
    given = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}"]
    refine(*given, f"output={tmp_path / 'refined.json'}", "report=true")
    browser.get((tmp_path / "refined.html").as_uri())
    assert "refined.html" in capsys.readouterr().out
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    links = [link.get_dom_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "nav a")]
    assert links == ["#summary", "#changed", "#histogram", "#settings"]
    assert all(browser.find_elements(By.CSS_SELECTOR, link) for link in links)
    assert all(image.get_property("naturalWidth") > 0 for image in browser.find_elements(By.TAG_NAME, "img"))
