"""The tags of a page; and a page in headless Chromium, driven as a person would: keys, clicks, other screens, paper.

No package is needed.

The browser speaks the Chrome DevTools Protocol over two pipes: JSON messages, each ended by a zero byte.
"""

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SECONDS = 120
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37}
TYPED = {"Enter": "\r", " ": " "}


class Tags(HTMLParser):
    """Every start tag, and that every other tag is closed in turn."""

    void = frozenset({"meta", "link", "br", "hr", "img", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class Browser:
    """One tab, with all that it logged and asked for."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        ours, theirs = os.pipe(), os.pipe()
        flags = " ".join([*FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"])
        # The browser reads what it is told from its descriptor 3, and answers on 4.
        told = f"exec {CHROMIUM} {flags} 3<&{ours[0]} 4>&{theirs[1]}"
        self.process = subprocess.Popen(
            ["bash", "-c", told], pass_fds=(ours[0], theirs[1]), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.told, self.heard, self.rest, self.count = ours[1], theirs[0], b"", 0
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to one method of the protocol."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        text = json.dumps(message | ({"sessionId": self.session} if self.session else {}))
        os.write(self.told, text.encode() + b"\0")
        while (answer := self._next()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            assert select.select([self.heard], [], [], SECONDS)[0], "the browser does not answer"
            read = os.read(self.heard, 1 << 20)
            assert read, "the browser has ended"
            self.rest += read
        one, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(one))

    def open(self, page: Path) -> None:
        """Load a page, and wait for it."""
        self.events.clear()
        self("Page.navigate", url=page.as_uri())
        self._loaded()

    def reload(self) -> None:
        """The next visit to the same page."""
        self.events.clear()
        self("Page.reload")
        self._loaded()

    def _loaded(self) -> None:
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def js(self, expression: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str, shift: bool = False) -> None:
        """Press these keys, one after the other."""
        for key in keys:
            typed = {"text": TYPED[key]} if key in TYPED else {}
            common = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": 8 if shift else 0}
            self("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **common, **typed)
            self("Input.dispatchKeyEvent", type="keyUp", **common)

    def point(self, selector: str) -> None:
        """Move the mouse onto the middle of the first such element, once it is in view."""
        middle = f"""(() => {{
          const one = document.querySelector(`{selector}`);
          one.scrollIntoView({{ block: "center" }});
          const {{ x, y, width, height }} = one.getBoundingClientRect();
          return [x + width / 2, y + height / 2];
        }})()"""
        x, y = self.js(middle)
        self("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def write(self, text: str) -> None:
        """Type a text where the focus is."""
        self("Input.insertText", text=text)

    def screen(self, width: int, *, dark: bool = False, height: int = 900, media: str = "") -> None:
        """What it is shown on: a screen of this width and colour scheme, or `media` "print"."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def picture(self, file: Path, *, whole: bool = False) -> Path:
        """A PNG of what is on the screen, or of the whole page."""
        found = self("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))
        return file

    def problems(self) -> list[Any]:
        """Errors and warnings of the console, and all that was asked for besides the page itself."""
        noise = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        asked = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent" and event["params"]["type"] != "Document"
        ]
        said = [event["params"] for event in self.events if event.get("method") in noise]
        return said + [url for url in asked if not url.startswith("data:")]

    def close(self) -> None:
        """End the browser."""
        self.session = None
        try:
            self("Browser.close")
        except (AssertionError, OSError):
            self.process.kill()
        for pipe in (self.told, self.heard):
            os.close(pipe)
        self.process.wait(SECONDS)


@contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, which is ended in the end."""
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()
