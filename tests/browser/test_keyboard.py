#!/usr/bin/env python3
"""The dashboard by keyboard, and while the service is away."""
import unittest

from dashboard import TINY, ActionChains, DashboardTest, Keys, make_archive

FOCUS = """
const e = document.activeElement;
const style = getComputedStyle(e.classList.contains('visually-hidden') ? e.closest('label') : e);
return { name: (e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || '').trim().split('\\n')[0], tag: e.tagName, id: e.id, ring: parseFloat(style.outlineWidth) > 0 && style.outlineStyle !== 'none' };
"""


class Keyboard(DashboardTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.gonio.post('/v1/datasets?name=odd', make_archive(cls.browser, ['a', 'b', 'c'], 6), 'application/zip')
        cls.gonio.post('/v1/models', {'name': 'tiny', 'init': 'random', 'seed': 1, 'architecture': TINY})

    def press(self, *keys):
        ActionChains(self.browser.driver).send_keys(*keys).perform()

    def walk(self, most=60):
        """What Tab stops at, in order, until it comes round."""
        stops = []
        for _ in range(most):
            self.press(Keys.TAB)
            stop = self.browser.run(FOCUS)
            if stop['tag'] == 'BODY':
                break
            stops.append(stop)
        return stops

    def test_walk(self):
        b = self.browser
        b.view(1280)
        for page, text, wanted in (
                ('/datasets', 'odd', ['Skip to the content', 'gonio', 'Data sets', 'Models', 'Runs', 'Drop an archive of photographs here, or choose one', 'odd']),
                ('/models', 'tiny', ['Drop a safetensors checkpoint here, or choose one', 'Create an untrained model', 'tiny']),
                ('/runs/new', 'Start the run', ['Model', 'Data set', 'Strategy', 'Epochs', 'Start the run'])):
            self.open(page)
            b.wait_text('main', text)
            stops = self.walk()
            names = [stop['name'] for stop in stops]
            found = [name for name in names if name in wanted]
            self.assertEqual(found, wanted, page)
            for stop in stops:
                self.assertTrue(stop['ring'], f'{page}: no visible focus on {stop}')

    def test_skip_link_and_page_change(self):
        b = self.browser
        b.view(1280)
        self.open('/datasets')
        b.wait_text('main', 'odd')
        self.press(Keys.TAB)
        self.assertEqual(b.run(FOCUS)['name'], 'Skip to the content')
        self.press(Keys.ENTER)
        self.assertEqual(b.run(FOCUS)['id'], 'main')
        b.wait_text('main', 'odd')
        b.run('document.querySelector(\'[data-section="models"]\').focus()')
        self.press(Keys.ENTER)
        b.wait_text('h1', 'Models')
        # A new page starts at its heading, and its title is spoken.
        b.wait(lambda: b.run(FOCUS)['tag'] == 'H1', 'focus on the heading')
        self.assertEqual(b.run('return document.getElementById("announce").textContent'), 'Models · gonio')

    def test_launch_by_keyboard(self):
        b = self.browser
        b.view(1280)
        b.run_form(self.gonio.url, 'tiny', 'odd')
        b.run('document.querySelector("[name=strategy]").focus()')
        self.press('linear')
        b.wait_text('.plan', 'the head only')
        b.fill('[name=epochs]', '1')
        self.press(Keys.ENTER)
        b.wait(lambda: '#/runs/run_' in b.driver.current_url, 'page of the run')
        b.wait_text('#run-status', 'succeeded', 60)
        run = self.gonio.get('/v1/runs')['items'][0]
        self.assertEqual((run['strategy'], run['epochs']), ('linear', 1))
        # A frozen layer is said to be frozen, not only painted so.
        b.wait(lambda: len(b.all('#angles td.frozen')) == 2 * TINY['depth'], 'frozen cells')
        self.assertEqual(b.run('return document.querySelector("#angles td.frozen").textContent'), '0 (frozen)')

    def test_dialog(self):
        b = self.browser
        b.view(1280)
        self.open('/datasets/odd')
        b.find('.head .danger').click()
        b.wait(lambda: b.run(FOCUS)['name'] == 'Keep', 'focus on the harmless answer')
        self.press(Keys.ESCAPE)
        b.wait(lambda: not b.all('dialog'), 'page without the dialog')
        self.assertEqual(len(self.gonio.get('/v1/datasets')['items']), 1)

    def test_lost_connection(self):
        b = self.browser
        b.view(1280)
        b.run_form(self.gonio.url, 'tiny', 'odd')
        self.gonio.stop()
        b.fill('[name=epochs]', '7')
        b.wait_text('#offline', 'does not answer')
        b.run('location.hash = "#/models"')
        b.wait_text('.problem', 'does not answer')
        self.gonio.start()
        b.wait_text('h1', 'Models')
        b.wait_text('main', 'tiny')
        b.wait(lambda: b.run('return document.getElementById("offline").hidden'), 'page without the banner')


if __name__ == '__main__':
    unittest.main()
