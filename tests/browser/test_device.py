#!/usr/bin/env python3
"""The footer says what computes, and why it is no GPU; nothing where nobody asked for one."""
import os
import unittest

from dashboard import DashboardTest, Gonio

REASON = 'Computes on the CPU: the CUDA backend cannot be loaded: '


class Device(DashboardTest):
    @classmethod
    def setUpClass(cls):
        broken = os.path.join(os.path.dirname(os.environ['GONIO']), 'broken-plugin.so')
        with open(broken, 'w', encoding='ascii') as file:
            file.write('no library')
        os.environ['GONIO_CUDA_PLUGIN'] = broken
        super().setUpClass()

    def test_why_there_is_no_gpu(self):
        b = self.browser
        for width, name in ((1200, 'no-gpu'), (360, 'no-gpu-narrow')):
            b.view(width, 740)
            self.open('/datasets')
            b.wait(lambda: b.run('return document.getElementById("no-gpu").textContent').startswith(REASON), 'the reason')
            self.assertTrue(b.run('return document.getElementById("no-gpu").checkVisibility()'))
            self.assertIn('broken-plugin.so', b.run('return document.getElementById("no-gpu").textContent'))
            self.assert_fits('/datasets')
            b.screenshot(name)

    def test_nothing_where_the_cpu_was_asked_for(self):
        b = self.browser
        plain = Gonio()
        os.environ['GONIO_DEVICE'] = 'cpu'
        try:
            plain.start()
            b.open(f'{plain.url}/#/datasets')
            b.wait(lambda: 'thread' in b.run('return document.getElementById("about").textContent'), 'the footer')
            self.assertFalse(b.run('return document.getElementById("no-gpu").checkVisibility()'))
        finally:
            del os.environ['GONIO_DEVICE']
            plain.close()


if __name__ == '__main__':
    unittest.main()
