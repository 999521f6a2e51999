#!/usr/bin/env python3
"""The main job through the dashboard: upload photographs, make a model, plan and launch a run, watch it, read the angles, classify; then every
page in light and dark, narrow and wide."""
import unittest

from dashboard import DashboardTest, make_archive

PAGES = ('datasets', 'dataset', 'models', 'model', 'runs', 'new-run', 'run')


class Journey(DashboardTest):
    def test_journey(self):
        self.browser.view(1280)
        self.upload()
        self.make_model()
        self.long_run()
        self.short_run()
        self.every_page()
        self.delete()

    def upload(self):
        b = self.browser
        data = make_archive(b, ['circle', 'square', 'star'], 20)
        self.open('/datasets')
        b.wait_text('main', 'No data sets yet')
        self.assertIn('curl', b.text('main'))
        b.drop('#dataset-file', ('My Shapes.zip', 'application/zip', data))
        self.assertEqual(b.find('#dataset-name').get_attribute('value'), 'my-shapes')
        b.fill('#dataset-name', 'shapes')
        b.fill('#dataset-val', '0.25')
        b.find('form button[type=submit]').click()
        b.wait_text('h1', 'shapes')
        b.wait_text('main', '3 classes, 45 training images, 15 for validation')
        b.wait(lambda: len([i for i in b.all('.thumb img') if int(i.get_attribute('naturalWidth')) > 0]) > 0, 'thumbnails')
        # A class name shows its photographs.
        b.find('.classes button').click()
        b.wait(lambda: len(b.all('.thumbs .thumb')) == 20, 'the photographs of one class')

    def make_model(self):
        b = self.browser
        self.open('/models')
        b.wait_text('main', 'No models yet')
        b.find('#random-model > summary').click()
        b.fill('#random-name', 'tiny')
        for key, value in {'patch_size': 8, 'dim': 32, 'depth': 4, 'heads': 2, 'mlp_dim': 64, 'classes': 3}.items():
            b.fill(f'#random-{key}', str(value))
        b.find('#random-model button[type=submit]').click()
        b.wait_text('h1', 'tiny')
        b.wait_text('main', 'blocks.3.mlp')

    def long_run(self):
        """A run of ten thousand epochs: its curve moves, it is cancelled, goes on, and is cancelled again."""
        b = self.browser
        b.run_form(self.gonio.url, 'tiny', 'shapes')
        b.choose('[name=strategy]', 'attention')
        before = b.text('.plan')
        b.choose('[name=strategy]', 'linear')
        b.wait(lambda: b.text('.plan') != before and 'the head only' in b.text('.plan'), 'plan of another strategy')
        b.fill('[name=epochs]', '0')
        b.wait(lambda: b.text('.field:has([name=epochs]) .error'), 'error beside the field')
        b.fill('[name=epochs]', '10000')
        b.choose('[name=strategy]', 'attention')
        b.fill('[name=batch_size]', '4')
        b.wait(lambda: not b.text('.field:has([name=epochs]) .error'), 'field without its error')
        b.fill('[name=name]', 'long')
        b.find('.side .button.primary').click()
        b.wait_text('h1', 'long')
        b.wait_text('#run-status', 'running')
        self.curve_moves()
        b.find('.head .danger').click()
        b.wait_text('#run-status', 'cancelled')
        self.assertIn('Resume', b.text('.head'))
        stopped = self.step()
        b.find('.head .primary').click()
        b.wait_text('#run-status', 'running')
        b.wait(lambda: self.step() > stopped, 'step after the one at which the run was cancelled')
        b.find('.head .danger').click()
        b.wait_text('#run-status', 'cancelled')

    def step(self):
        return int(self.browser.run('return document.querySelector("[data-steps]")?.dataset.steps ?? "0"'))

    def curve_moves(self):
        b = self.browser
        b.wait(lambda: self.step() > 0, 'first step in the curve')
        first = self.step()
        b.wait(lambda: self.step() > first, 'further step in the curve')
        b.wait(lambda: b.run('return document.querySelector("#run-status").closest("main").querySelector("progress").value > 0'), 'progress')

    def short_run(self):
        """A run to its end, with angles, and a photograph for its model."""
        b = self.browser
        b.run_form(self.gonio.url, 'tiny', 'shapes')
        b.choose('[name=strategy]', 'full')
        b.fill('[name=epochs]', '3')
        b.fill('[name=name]', 'short')
        b.find('.side .button.primary').click()
        b.wait_text('h1', 'short')
        b.wait_text('#run-status', 'succeeded', 60)
        b.wait_text('.result-card', 'validation accuracy')
        b.wait(lambda: len(b.all('#angles td.heat')) == 8, 'cells of the heat map')
        self.assertEqual(len(b.all('#angles td.frozen')), 0)
        ranks = sorted(b.run('return [...document.querySelectorAll("#angles .rank")].map((r) => r.innerText.match(/#(\\d+)/)[1])'))
        self.assertEqual(ranks, ['1', '1', '2', '2', '3', '3', '4', '4'])
        b.wait(lambda: len(b.all('#angles canvas')) == 2, 'curves of the angles')
        picture = b.pictures(1)[0]
        b.drop('#classify-file', ('dropped.jpg', 'image/jpeg', picture), ('broken.jpg', 'image/jpeg', b'no picture'))
        b.wait(lambda: len(b.all('.predictions li')) == 3, 'a bar per class')
        self.assertGreater(b.run('return document.querySelector(".result canvas").width'), 0)
        b.wait(lambda: b.all('.result .problem'), 'the reason why the other file is no picture')
        shares = [float(text.split()[0]) for text in b.run('return [...document.querySelectorAll(".predictions .num")].map((n) => n.innerText)')]
        self.assertEqual(shares, sorted(shares, reverse=True))
        self.assertAlmostEqual(sum(shares), 100, delta=0.3)

    def every_page(self):
        b = self.browser
        model = self.gonio.get('/v1/runs/short')['result']['model']
        routes = dict(zip(PAGES, ('/datasets', '/datasets/shapes', '/models', f'/models/{model}', '/runs', '/runs/new', '/runs/short')))
        ready = {'datasets': 'shapes', 'dataset': '15', 'models': 'tiny', 'model': 'blocks.0.attn', 'runs': 'short', 'new-run': 'Choose what to tune', 'run': 'Angle of every layer'}
        for name, route in routes.items():
            self.open(route)
            b.wait_text('main', ready[name])
            for width in (360, 1280):
                for dark in (False, True):
                    b.view(width, dark=dark)
                    self.assert_fits(f'{name} at {width}')
                    b.settle()
                    b.screenshot(f'{name}-{width}-{"dark" if dark else "light"}')

    def delete(self):
        b = self.browser
        b.view(1280)
        self.open('/runs/long')
        b.wait(lambda: b.all('.head .danger'), 'button to delete')
        b.find('.head .danger').click()
        b.find('dialog .danger').click()
        b.wait_text('.toasts', 'free again')
        b.wait_text('h1', 'Runs')
        b.wait(lambda: len(b.all('.table tbody tr')) == 1, 'list without the run')
        self.assertEqual([run['name'] for run in self.gonio.get('/v1/runs')['items']], ['short'])


if __name__ == '__main__':
    unittest.main()
