#!/usr/bin/env python3
"""Outside text in the dashboard: class names with markup, quotes, other scripts and 300 characters are text, and break no page at 360 pixels."""
import unittest
from urllib.parse import quote

from dashboard import TINY, DashboardTest, archive, make_archive

SCRIPT = '<script>window.hacked=1<script>'
IMAGE = '<img src=x onerror=window.hacked=2>'
NAMES = [SCRIPT, IMAGE, '"double" & \'single\'', 'Äpfel und Birnen 日本語', 'x' * 240, 'many words ' * 20 + 'end']


class Names(DashboardTest):
    def test_names_are_text(self):
        b = self.browser
        b.view(360, 740)
        data = make_archive(b, NAMES, 4)
        made = self.gonio.post('/v1/datasets?name=odd', data, 'application/zip')
        stored = [c['name'] for c in made['classes']]
        self.assertEqual(len(stored), len(NAMES))
        self.open('/datasets/odd')
        b.wait(lambda: len(b.all('.classes tbody tr')) == len(NAMES), 'a row per class')
        shown = b.run('return [...document.querySelectorAll(".classes tbody button")].map((e) => e.textContent)')
        self.assertEqual(shown, stored)
        b.wait(lambda: b.all('.thumb'), 'thumbnails')
        self.unharmed('/datasets/odd')
        for number in range(len(NAMES)):
            b.all('.classes tbody button')[number].click()
            b.wait(lambda: len(b.all('.thumbs .thumb')) == 4, 'the photographs of one class')
        self.unharmed('a class of /datasets/odd')
        self.classify(b.pictures(1)[0])

    def classify(self, picture):
        """The names come back as labels of a tuned model."""
        b = self.browser
        self.gonio.post('/v1/models', {'name': 'tiny', 'init': 'random', 'seed': 1, 'architecture': TINY})
        self.gonio.post('/v1/runs', {'name': 'r', 'model': 'tiny', 'dataset': 'odd', 'strategy': 'linear', 'epochs': 1})
        b.wait(lambda: self.gonio.get('/v1/runs/r')['status'] == 'succeeded', 'the end of the run', 60)
        self.open('/runs/r')
        b.drop('#classify-file', (f'{IMAGE}.jpg', 'image/jpeg', picture))
        b.wait(lambda: len(b.all('.predictions li')) == 5, 'five bars')
        labels = b.run('return [...document.querySelectorAll(".predictions .label")].map((e) => e.textContent)')
        self.assertLessEqual(set(labels), set(NAMES))
        self.unharmed('/runs/r')

    def test_refused_archive(self):
        b = self.browser
        b.view(360, 740)
        data = archive({SCRIPT: [b'no picture', b'neither'], 'y' * 300: [b'nor this']})
        self.open('/datasets')
        b.drop('#dataset-file', ('odd.zip', 'application/zip', data))
        b.find('form button[type=submit]').click()
        b.wait(lambda: b.all('.problem'), 'the reason')
        self.assertTrue(b.text('.problem .problem-title'))
        self.unharmed('/datasets after a refused archive')

    def test_refused_checkpoint(self):
        b = self.browser
        b.view(360, 740)
        self.open('/models')
        b.drop('#model-file', ('cut.safetensors', '', b'\xff' * 100))
        b.find('form button[type=submit]').click()
        b.wait(lambda: b.all('.problem'), 'the reason')
        self.unharmed('/models after a refused checkpoint')

    def test_nothing_there(self):
        b = self.browser
        b.view(360, 740)
        for page in ('/datasets/', '/models/', '/runs/'):
            self.open(page + quote(IMAGE, safe=''))
            b.wait_text('h1', 'Not found')
            self.unharmed(page)

    def test_more_than_a_page(self):
        b = self.browser
        b.view(360, 740)
        for number in range(52):
            self.gonio.post('/v1/models', {'name': f'm{number:02}', 'init': 'random', 'seed': number, 'architecture': {**TINY, 'depth': 1}})
        self.open('/models')
        b.wait(lambda: len(b.all('.table tbody tr')) == 50, 'the first fifty')
        b.wait_text('main', 'Show more')
        [more] = [button for button in b.all('main button') if button.text == 'Show more']
        more.click()
        b.wait(lambda: len(b.all('.table tbody tr')) >= 52, 'all models')
        b.wait_text('main', 'm00')
        # The keyboard goes on where the list went on.
        self.assertEqual(b.run('return [...document.querySelectorAll(".table tbody tr")].indexOf(document.activeElement.closest("tr"))'), 50)
        self.unharmed('/models with two pages')

    def unharmed(self, page):
        self.assertIsNone(self.browser.run('return window.hacked ?? null'), f'{page} ran a class name')
        self.assert_fits(page)


if __name__ == '__main__':
    unittest.main()
