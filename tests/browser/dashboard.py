"""What the browser tests share: a gonio of their own, a headless Chromium, pictures, archives, drops and screenshots.

Needs Python's standard library and selenium (Debian's python3-selenium) only: the pictures are drawn and encoded as JPEG by
Chromium itself. Environment: GONIO (the program), GONIO_SCREENSHOTS (the folder that keeps pictures of every page; by default
screenshots/ beside the program).
"""
import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import zipfile

SKIP = 77
SYSTEM_PYTHON = '/usr/bin/python3'

try:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    # Debian installs selenium for its own Python, which need not be the first one on the PATH.
    if os.path.realpath(sys.executable) != os.path.realpath(SYSTEM_PYTHON) and os.path.exists(SYSTEM_PYTHON):
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv])
    print('skipped: python3-selenium is not installed')
    sys.exit(SKIP)

START_SECONDS = 20
WAIT_SECONDS = 20
SANITIZER_MARKS = ('AddressSanitizer', 'LeakSanitizer', 'ThreadSanitizer', 'runtime error:')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Gonio:
    """`gonio serve` on a free port with a folder of its own; stopped by its own pid."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='gonio-browser-')
        self.port = free_port()
        self.url = f'http://127.0.0.1:{self.port}'
        self.process = None

    def start(self):
        with open(os.path.join(self.folder, 'stderr'), 'ab') as log:
            self.process = subprocess.Popen(
                [os.environ['GONIO'], 'serve', '--listen', f'127.0.0.1:{self.port}', '--data', os.path.join(self.folder, 'data')],
                stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f'gonio ended with status {self.process.returncode}:\n{self.log()}')
            try:
                self.get('/readyz')
                return self
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        raise RuntimeError(f'gonio was not ready after {START_SECONDS} s:\n{self.log()}')

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(f'gonio did not stop within 20 s:\n{self.log()}') from None

    def close(self):
        try:
            self.stop()
            log = self.log()
            if any(mark in log for mark in SANITIZER_MARKS):
                raise AssertionError(f'a sanitizer reports:\n{log}')
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        with open(os.path.join(self.folder, 'stderr'), encoding='utf-8', errors='replace') as log:
            return log.read()[-4000:]

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as reply:
            return json.load(reply)

    def post(self, path, body, content_type='application/json'):
        data = json.dumps(body).encode() if content_type == 'application/json' else body
        request = urllib.request.Request(self.url + path, data=data, headers={'Content-Type': content_type}, method='POST')
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(f'POST {path}: {error.code} {error.read().decode()}') from None


DRAW = """
const [count, size, done] = arguments;
const colours = ['#d33', '#3a3', '#33d', '#dd3', '#3dd', '#d3d'];
const jobs = [];
for (let i = 0; i < count; i += 1) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const pen = canvas.getContext('2d');
  pen.fillStyle = `hsl(${(i * 53) % 360} 30% 80%)`;
  pen.fillRect(0, 0, size, size);
  pen.fillStyle = colours[i % colours.length];
  pen.beginPath();
  pen.arc(size / 2 + (i % 7) - 3, size / 2 + (i % 5) - 2, size / 4 + (i % 3), 0, 7);
  pen.fill();
  pen.fillStyle = '#000';
  pen.fillRect(i % size, Math.floor(i / size) % size, 2, 2);
  jobs.push(canvas.toDataURL('image/jpeg', 0.9).split(',')[1]);
}
done(jobs);
"""

# A real drop, as the page sees it: the events of a drag that ends on the label of the file input.
DROP = """
const [selector, files] = arguments;
const transfer = new DataTransfer();
for (const [name, type, text] of files) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type }));
}
const zone = document.querySelector(selector).closest('label');
for (const type of ['dragenter', 'dragover', 'drop']) {
  zone.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
}
"""


class Browser:
    """Headless Chromium with what the tests ask of a page."""

    def __init__(self):
        options = Options()
        binary = shutil.which('chromium')
        if binary:
            options.binary_location = binary
        for flag in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--window-size=1280,900'):
            options.add_argument(flag)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        try:
            self.driver = webdriver.Chrome(options=options, service=Service(shutil.which('chromedriver')))
        except WebDriverException as error:
            print(f'skipped: Chromium does not start: {error.msg}')
            sys.exit(SKIP)
        self.driver.set_page_load_timeout(WAIT_SECONDS)
        self.driver.set_script_timeout(WAIT_SECONDS)

    def quit(self):
        self.driver.quit()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def pictures(self, count, size=32):
        """JPEGs, all different."""
        return [base64.b64decode(text) for text in self.driver.execute_async_script(DRAW, count, size)]

    def open(self, url):
        # Through a blank page: a change of the fragment alone would not load the page anew.
        self.driver.get('about:blank')
        self.driver.get(url)
        self.find('h1')

    def find(self, selector):
        return self.wait(lambda: self.all(selector), f'{selector} on the page')[0]

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        """The text of an element, or '' while it is not there. Read in one script: a live page replaces its nodes."""
        return self.run('return document.querySelector(arguments[0])?.innerText ?? ""', selector)

    def fill(self, selector, value):
        field = self.find(selector)
        field.clear()
        field.send_keys(value)

    def choose(self, selector, text):
        """Chooses the option that starts with the text."""
        self.find(selector)
        found = self.run("""
            const menu = document.querySelector(arguments[0]);
            const option = [...menu.options].find((o) => o.text.startsWith(arguments[1]));
            if (!option) return false;
            menu.value = option.value;
            menu.dispatchEvent(new Event('change', { bubbles: true }));
            return true;""", selector, text)
        if not found:
            raise AssertionError(f'{selector} has no option {text}')

    def run_form(self, url, model, dataset):
        """The form for a new run, with its plan."""
        self.open(f'{url}/#/runs/new')
        self.choose('[name=model]', model)
        self.choose('[name=dataset]', dataset)
        self.wait_text('.plan', 'tuned parameters')

    def drop(self, selector, *files):
        """Drops (name, type, bytes) on the drop zone of a file input."""
        self.find(selector)
        self.run(DROP, selector, [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files])

    def wait(self, condition, what, seconds=WAIT_SECONDS):
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f'after {seconds} s: no {what}\n{self.driver.current_url}\n{self.text("main")[:1500]}')
            time.sleep(0.05)

    def wait_text(self, selector, part, seconds=WAIT_SECONDS):
        return self.wait(lambda: part in self.text(selector), f'"{part}" in {selector}', seconds)

    def view(self, width, height=800, dark=False):
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False})
        self.driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}]})

    def settle(self):
        """Two frames: what follows the size of the page, charts above all, has been drawn then."""
        self.driver.execute_async_script('const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)));')

    def too_wide(self):
        """What makes the page scroll sideways, or None."""
        return self.run("""
            if (document.documentElement.scrollWidth <= innerWidth) return null;
            return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth)
              .slice(0, 3).map((e) => e.outerHTML.slice(0, 120)).join('\\n');""")

    def screenshot(self, name):
        folder = os.environ.get('GONIO_SCREENSHOTS') or os.path.join(os.path.dirname(os.environ['GONIO']), 'screenshots')
        os.makedirs(folder, exist_ok=True)
        shot = self.driver.execute_cdp_cmd('Page.captureScreenshot', {'format': 'png', 'captureBeyondViewport': True})
        with open(os.path.join(folder, f'{name}.png'), 'wb') as file:
            file.write(base64.b64decode(shot['data']))

    def complaints(self):
        """What the page wrote to the console: errors of scripts and of the content security policy. Failed requests are the tests' own business."""
        return [entry['message'] for entry in self.driver.get_log('browser')
                if entry['level'] == 'SEVERE' and 'Failed to load resource' not in entry['message']]


class DashboardTest(unittest.TestCase):
    """One gonio and one browser for the tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.quit)
        cls.gonio = Gonio()
        cls.addClassCleanup(cls.gonio.close)
        cls.gonio.start()

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])

    def open(self, page):
        self.browser.open(f'{self.gonio.url}/#{page}')

    def assert_fits(self, page=''):
        self.assertIsNone(self.browser.too_wide(), f'{page} scrolls sideways')


def archive(classes):
    """A zip with CLASS/NUMBER.jpg from {class: [bytes]}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as packed:
        for name, pictures in classes.items():
            for number, data in enumerate(pictures):
                packed.writestr(f'{name}/{number}.jpg', data)
    return buffer.getvalue()


def make_archive(browser, names, each):
    """A zip of as many different pictures in every class."""
    pictures = browser.pictures(len(names) * each)
    # Pictures are dealt in turn, so that a class has colours of its own.
    return archive({name: pictures[i::len(names)] for i, name in enumerate(names)})


TINY = {'image_size': 32, 'patch_size': 8, 'dim': 32, 'depth': 4, 'heads': 2, 'mlp_dim': 64, 'classes': 3, 'pool': 'cls'}
