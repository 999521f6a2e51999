#!/usr/bin/env python3
"""What compares and combines: an angle-guided run, a sweep with its charts, runs side by side, a soup, an evaluation with the pictures behind its
matrix, downloads; every page narrow and wide, in light and dark."""
import unittest

from dashboard import TINY, ActionChains, DashboardTest, make_archive

CLASSES = ['circle', 'square', '<b>star</b>']


class Results(DashboardTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.gonio.post('/v1/datasets?name=shapes', make_archive(cls.browser, CLASSES, 12), 'application/zip')
        cls.gonio.post('/v1/models', {'name': 'tiny', 'init': 'random', 'seed': 1, 'architecture': TINY})

    def test_results(self):
        self.browser.view(1280)
        self.guided_run()
        sweep = self.sweep()
        self.compare()
        soup = self.soup(sweep)
        evaluation = self.evaluate()
        self.every_page({'sweeps': ('/sweeps', 'all-ways'), 'new-sweep': ('/sweeps/new', 'Start the sweep'), 'sweep': (f'/sweeps/{sweep}', 'Spread'),
                         'compare': (f'/compare?runs={",".join(self.runs)}', 'They differ'), 'soups': ('/soups', 'broth'), 'soup': (f'/soups/{soup}', 'best ingredient'),
                         'evaluations': ('/evaluations', 'Evaluate a model'), 'evaluation': (f'/evaluations/{evaluation}', 'Most frequent confusions'), 'guided-run': ('/runs/guided', 'Chosen layers')})

    def guided_run(self):
        b = self.browser
        b.run_form(self.gonio.url, 'tiny', 'shapes')
        b.choose('[name=strategy]', 'angle')
        numbers = [e for e in b.all('.field.wide .fields input[type=number]') if e.is_displayed()]
        self.assertEqual(len(numbers), 3, 'epochs of the probe, attention and FFN layers')
        for box, value in zip(numbers, ('1', '2', '1')):
            box.clear()
            box.send_keys(value)
        b.fill('[name=epochs]', '2')
        b.fill('[name=name]', 'guided')
        b.wait_text('.plan', 'tuned parameters')
        b.find('.side .button.primary').click()
        b.wait_text('h1', 'guided')
        b.wait_text('#run-status', 'succeeded', 60)
        b.wait_text('#selection', 'The 2 attention and 1 FFN layers with the largest angles')
        self.assertEqual(len(b.all('#selection .chosen li')), 3)
        turned = self.gonio.get('/v1/runs/guided')['selection']['layers']
        shown = b.run('return [...document.querySelectorAll("#selection .chosen .tag")].map((e) => e.innerText)')
        self.assertEqual(shown, [f'block {layer["block"]}' for group in ('attention', 'ffn') for layer in turned if layer['group'] == group])

    def sweep(self):
        b = self.browser
        self.open('/sweeps')
        b.wait_text('main', 'No sweeps yet')
        self.open('/sweeps/new')
        b.wait_text('main', 'Start the sweep')
        for label in b.all('.checks label'):
            name = label.text.split('\n')[0]
            box = b.run('return arguments[0].previousElementSibling', label)
            if box.is_selected() != (name in ('full', 'attention')):
                box.click()
        b.fill('#sweep-seeds', '0, 1')
        b.fill('[name=name]', 'all-ways')
        b.fill('[name=epochs]', '2')
        b.wait_text('.side', '2 strategies with 2 seeds: 4 runs')
        b.find('.side .button.primary').click()
        b.wait_text('h1', 'all-ways')
        b.wait_text('#sweep-status', 'succeeded', 60)
        sweep = self.gonio.get('/v1/sweeps/all-ways')
        b.wait(lambda: len(b.all('section .table tbody tr')) >= 2 + 4, 'a row for each strategy and each run')
        b.wait(lambda: len(b.all('main canvas')) == 2, 'two scatter charts')
        self.runs = [row['run'] for row in sweep['rows']]
        self.click_point(sweep)
        return sweep['id']

    def click_point(self, sweep):
        """A point of the chart leads to its run."""
        b = self.browser
        b.settle()
        x, y = b.run("""
            const canvas = document.querySelector('main canvas');
            const point = Chart.getChart(canvas).getDatasetMeta(0).data[0];
            const box = canvas.getBoundingClientRect();
            canvas.scrollIntoView({ block: 'center' });
            return [point.x - box.width / 2, point.y - box.height / 2];""")
        ActionChains(b.driver).move_to_element_with_offset(b.find('main canvas'), x, y).click().perform()
        b.wait_text('.crumb', 'Runs')
        self.assertIn(b.driver.current_url.split('/')[-1], [row['run'] for row in sweep['rows']])

    def compare(self):
        b = self.browser
        self.open('/sweeps/all-ways')
        boxes = b.wait(lambda: b.all('td input[type=checkbox]'), 'boxes to compare')
        boxes[0].click()
        boxes[2].click()
        b.wait_text('.head', 'Compare 2 runs')
        b.find('.head a.button').click()
        b.wait_text('h1', 'Compare 2 runs')
        self.assertIn('strategy', b.text('.head .sub'))
        self.assertEqual([e.text.split('\n')[0] for e in b.all('tr.differs th')], ['strategy', 'lr'])
        self.assertEqual(len(b.all('main canvas')), 2)
        self.assertEqual(len(b.all('.heat-table')), 2)

    def soup(self, sweep):
        b = self.browser
        self.open(f'/soups?sweep={sweep}')
        b.wait(lambda: len(b.all('.ingredient')) == 5, 'the tuned models')
        self.assertEqual(sum(e.is_selected() for e in b.all('.ingredient input[type=checkbox]')), 4)
        b.fill('#soup-name', 'broth')
        b.find('form .button.primary').click()
        b.wait_text('h1', 'broth')
        b.wait_text('#soup-status', 'succeeded', 60)
        b.wait_text('.result-card', 'best ingredient')
        made = self.gonio.get('/v1/soups/broth')
        self.assertGreaterEqual(made['result']['val_accuracy'], max(i['val_accuracy'] for i in made['ingredients']))
        self.assertEqual(len(b.all('main tbody tr')), 4)
        b.find('.result-card a').click()
        b.wait_text('main', 'by broth')
        self.assertIn('export?format=huggingface', b.find('a[download$="huggingface.zip"]').get_attribute('href'))
        self.model = made['result']['model']
        return made['id']

    def evaluate(self):
        b = self.browser
        self.open(f'/evaluations?model={self.model}')
        b.wait_text('main', 'No evaluations yet')
        b.choose('#evaluation-split', 'all')
        b.find('form .button.primary').click()
        b.wait_text('#evaluation-status', 'succeeded', 60)
        b.wait_text('.result-card', 'accuracy')
        made = self.gonio.get('/v1/evaluations')['items'][0]['id']
        result = self.gonio.get(f'/v1/evaluations/{made}')['result']
        self.assertEqual(sum(map(sum, result['confusion'])), 36)
        wrong = sum(n for r, row in enumerate(result['confusion']) for c, n in enumerate(row) if r != c)
        b.wait(lambda: len(b.all('#cell-pictures .thumb')) == 36, 'every picture')
        first = b.text('#cell-pictures .thumb')
        self.assertTrue(first)
        self.assertGreater(wrong + sum(row[i] for i, row in enumerate(result['confusion'])), 0)
        row, column = next((r, c) for r, cells in enumerate(result['confusion']) for c, n in enumerate(cells) if n)
        b.all(f'.matrix tbody tr:nth-child({row + 1}) td')[column].find_element('css selector', 'button').click()
        b.wait(lambda: len(b.all('#cell-pictures .thumb')) == result['confusion'][row][column], 'the pictures of one cell')
        return made

    def every_page(self, pages):
        b = self.browser
        for name, (route, ready) in pages.items():
            self.open(route)
            b.wait_text('main', ready)
            for width in (360, 1280):
                for dark in (False, True):
                    b.view(width, dark=dark)
                    self.assert_fits(f'{name} at {width}')
                    b.settle()
                    b.screenshot(f'{name}-{width}-{"dark" if dark else "light"}')
        self.assertEqual(b.run('return document.querySelectorAll("main b").length'), 0, 'a class name became markup')


if __name__ == '__main__':
    unittest.main()
