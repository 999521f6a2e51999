#!/usr/bin/env python3
"""The tables that the script `run` makes of what the bench, PyTorch and ncu wrote."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import tempfile
import types
import unittest

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader('run', str(pathlib.Path(__file__).parent / 'run'))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader('run', loader))
loader.exec_module(run)

TORCH = '''torch 2.11.0, timm 1.0.29, NVIDIA H200
ViT-B/16 full       eager        50.00 ms    2500.0 images/s  (first steps 2.6 s)
ViT-B/16 full       compiled     40.00 ms    3200.0 images/s  (first steps 30.5 s)
no time: ViT-B/16 attention compiled
'''
NCU = '''==PROF== Connected to process 12 (gonio)
"ID","Kernel Name","gpu__time_duration.sum"
"","","ns"
"0","norm_kernel","500"
"1","layernorm_kernel","1,000"
"2","nvjet","3,000"
"3","norm_kernel","500"
"4","layernorm_kernel","2,000"
"5","nvjet","5,000"
"6","nvjet","2,500"
"7","norm_kernel","500"
"8","step_kernel","7,000"
'''


def figure(name, unit, value, precision='bf16', section='step'):
    return {'section': section, 'name': name, 'unit': unit, 'value': value, 'precision': precision, 'reference': None}


class Tables(unittest.TestCase):
    def speed(self, figures, torch=TORCH, product=700e3):
        return run.speed_table(types.SimpleNamespace(figures=figures, torch_lines=torch, product=product))

    def test_rates_and_their_part_of_the_product_rate(self):
        figures = [figure('ViT-B/16 full batch 128', 'images/s', 3500.0),
                   figure('ViT-B/16 full batch 128', 'GFLOP/s', 350e3),
                   figure('ViT-B/16 full batch 128', 'images/s', 1.0, 'tf32'),
                   figure('ViT-B/16 full batch 64', 'images/s', 2.0),
                   figure('ViT-B/16 full batch 128', 'bytes', 3.0, section='memory planned'),
                   figure('ViT-B/16 attention batch 128', 'images/s', 7000.0),
                   figure('ViT-B/16 attention batch 128', 'GFLOP/s', 420e3)]
        rows = [line.split() for line in self.speed(figures)[2:]]
        # an image is 100 GFLOP: 2500 and 3200 images/s are 250 and 320 TFLOP/s, of 700
        self.assertEqual(rows, [['ViT-B/16', 'full', '3500', '0.500', '2500', '0.357', '3200', '0.457'],
                                ['ViT-B/16', 'attention', '7000', '0.600', '-', '-']])

    def test_no_table_without_figures(self):
        self.assertEqual(self.speed([]), [])
        self.assertEqual(self.speed([figure('ViT-B/16 full batch 128', 'images/s', 1.0)]), [])

    def test_kernels_of_the_last_whole_step(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / 'ncu.csv'
            self.assertEqual(run.kernels_of_a_step(file), [])
            file.write_text('==ERROR== ERR_NVGPUCTRPERM\n')
            self.assertEqual(run.kernels_of_a_step(file), [])
            file.write_text(NCU)
            launches = run.kernels_of_a_step(file)
        self.assertEqual([name for name, _ in launches], ['norm_kernel', 'layernorm_kernel', 'nvjet', 'nvjet'])
        table = run.kernel_table(launches)
        self.assertIn('4 launches, 0.01 ms', table[0])
        self.assertEqual(table[1].split(), ['nvjet', '2', 'x', '0.007', 'ms', '75.0%'])

    def test_the_line_that_tells(self):
        text = 'one\nFAIL linear M=3\n3 failures\n\n'
        self.assertEqual(run.told(text, 'passed'), '3 failures')
        self.assertEqual(run.told(text, 'FAILED 1'), 'FAIL linear M=3')
        self.assertEqual(run.told('', 'TIMEOUT'), '')


if __name__ == '__main__':
    unittest.main()
