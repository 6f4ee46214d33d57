"""``bpr app`` as its user meets it, in headless Chromium."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from bpr import Refiner, rle
from bpr.formats.polygons import trace
from bpr.synthetic.example import example_photograph, read_example

if importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio is not installed: pip install -e '.[app]'", allow_module_level=True)

STRANGE = "ä '<&.png"


@pytest.fixture
def app(tmp_path, weights):
    """The process, its address, and the folder of its temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bpr", "app", "--port", f"{port}", "--ckpt", str(weights)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        try:
            printed = process.stdout.readline()
            assert printed == f"http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
            yield process, printed.split()[0], temporary
        finally:
            process.kill()


def wait(browser, condition):
    return WebDriverWait(browser, 300, 0.5, [StaleElementReferenceException]).until(lambda _: condition())


def text(browser, block="root"):
    return browser.execute_script("return (document.getElementById(arguments[0]) || document.body).innerText", block)


def press(browser, selector, label=""):
    """Click all elements that a selector finds and that have a label, once there is one; whether they take clicks."""
    script = (
        "const found = [...document.querySelectorAll(arguments[0])].filter(e => e.innerText.trim() === arguments[1])"
    )
    return wait(
        browser,
        lambda: browser.execute_script(
            f"{script}; found.forEach(e => e.click()); return found.length", selector, label
        ),
    )


def choose(browser, block, path):
    browser.execute_script(f"document.querySelectorAll('#{block} button[aria-label=Clear]').forEach(e => e.click())")
    wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#masks input[type=file]"))  # go with the image
    wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, f"#{block} input[type=file]"))[0].send_keys(str(path))


def upload(browser, block, path):
    choose(browser, block, path)
    wait(browser, lambda: path.name in text(browser, block).replace("\n", ""))
    wait(browser, lambda: not browser.find_elements(By.CSS_SELECTOR, "#editor .translucent"))


def refine(browser, folder, name, said=""):
    """Refine, see that something is said, and download; the path of the file."""
    press(browser, "button", "Refine")
    wait(browser, lambda: said in text(browser) and "changed" in text(browser))
    path = folder / "downloads" / name
    path.unlink(missing_ok=True)

    def downloaded():
        press(browser, "button:not([disabled])", "Download")
        time.sleep(1)
        return path if path.is_file() else None

    return wait(browser, downloaded)


def requests(browser):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {url for url in sent if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))}


def check_example(browser, folder, refiner):
    wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#editor canvas"))
    press(browser, "label", "chelsea")
    wait(browser, lambda: "chelsea.json" in text(browser, "masks").replace("\n", ""))
    refined = json.loads(refine(browser, folder, "chelsea.json").read_text())
    given = next(one for one in read_example()["annotations"] if one["id"] == refined["annotations"][0]["id"])
    photograph = example_photograph("chelsea.png")
    coarse = rle.decode(rle.from_segmentation(given["segmentation"], photograph.shape[:2]))
    expected, _ = trace(rle.encode(refiner(photograph, coarse)))
    assert refined["annotations"] == [{**given, "segmentation": expected}]
    shown = browser.find_elements(By.CSS_SELECTOR, "#slider img")
    assert [image.get_property("naturalWidth") for image in shown] == [800, 800]
    assert shown[0].get_property("src") != shown[1].get_property("src")


def check_own_files(browser, folder, refiner, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    mask = np.zeros((90, 120), bool)
    mask[20:70, 30:80] = True
    Image.fromarray(pixels).save(folder / STRANGE)
    entry = {"image_id": 1, "file_name": STRANGE, "category_id": 1, "score": 0.5, "segmentation": rle.encode(mask)}
    (folder / "rough.json").write_text(json.dumps([entry, {**entry, "file_name": "<b>other.png", "image_id": 2}]))
    upload(browser, "image", folder / STRANGE)
    upload(browser, "masks", folder / "rough.json")
    refined = json.loads(refine(browser, folder, "rough.json", "<b>other.png: is missing").read_text())
    assert np.array_equal(rle.decode(refined[0]["segmentation"]), refiner(pixels, mask))
    assert refined[1]["segmentation"] == entry["segmentation"]


def check_drawing(browser, folder):
    canvas = browser.find_element(By.CSS_SELECTOR, "#editor canvas")
    strokes = ActionChains(browser).move_to_element_with_offset(canvas, -100, -100).click_and_hold()
    for corner in ((100, -100), (100, 100), (-100, 100), (-100, -100)):
        strokes.move_to_element_with_offset(canvas, *corner)
    strokes.release().perform()
    mask = np.asarray(Image.open(refine(browser, folder, "1.png")))
    assert mask.shape == (90, 120)
    assert 0.1 < (mask > 0).mean() < 0.9
    assert (mask[30:60, 40:80] > 0).mean() > 0.8  # what is inside of an outline, but for holes of random weights


def begin_long_run(browser, folder):
    """Many masks, none changed yet."""
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(folder / "many.png")
    box = [[20, 20, 90, 20, 90, 70, 20, 70]]
    entry = {"image_id": 1, "file_name": "many.png", "category_id": 1, "score": 0.5, "segmentation": box}
    (folder / "many.json").write_text(json.dumps([entry] * 400))
    upload(browser, "image", folder / "many.png")
    upload(browser, "masks", folder / "many.json")
    press(browser, "button", "Refine")
    wait(browser, lambda: "/400 masks done" in text(browser))
    assert "changed" not in text(browser)


def check_other_example(browser, folder):
    press(browser, "label", "coffee")
    wait(browser, lambda: "coffee.json" in text(browser, "masks").replace("\n", ""))
    refine(browser, folder, "coffee.json")
    assert not (folder / "downloads" / "many.json").exists()


def check_wrong_masks_while_others_are_shown(browser, folder):
    Image.new("RGB", (5000, 5000)).save(folder / STRANGE)
    upload(browser, "image", folder / STRANGE)
    (folder / "wrong.json").write_text("[{")
    choose(browser, "masks", folder / "rough.json")
    wait(browser, lambda: "rough.json" in text(browser, "masks").replace("\n", ""))
    choose(browser, "masks", folder / "wrong.json")
    wait(browser, lambda: "wrong.json: is not JSON" in text(browser, "status"))
    assert browser.find_elements(By.CSS_SELECTOR, "#slider img") == []


def test_an_example_own_files_and_a_drawing_are_refined_on_the_page(app, browser, tmp_path, weights):
    process, address, temporary = app
    refiner = Refiner.from_pretrained(weights, device="cpu")
    browser.set_window_size(1000, 900)  # drawn by the processor
    browser.set_script_timeout(300)
    browser.get(address)
    check_example(browser, tmp_path, refiner)
    check_own_files(browser, tmp_path, refiner, 0)
    check_drawing(browser, tmp_path)
    (tmp_path / "wrong.png").write_text("no image")
    upload(browser, "image", tmp_path / "wrong.png")
    wait(browser, lambda: "wrong.png: cannot be decoded" in text(browser, "status"))
    assert "/" not in text(browser, "status")
    begin_long_run(browser, tmp_path)
    press(browser, "button", "Refine")  # waits for its turn
    check_other_example(browser, tmp_path)
    check_own_files(browser, tmp_path, refiner, 1)
    check_wrong_masks_while_others_are_shown(browser, tmp_path)
    assert {url for url in requests(browser) if not url.removeprefix("blob:").startswith(address)} == set()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert httpx.get(f"{address}gradio_api/file=/etc/hostname").status_code == 403
    assert len([*temporary.glob("bpr-app-*")]) == 1
    begin_long_run(browser, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert [*temporary.glob("bpr-app-*")] == []
