#!/usr/bin/env python3
"""Lets timm and transformers load the folders that gonio exports, and records what they compute.

    make_exports.py PARITY_EXPORT_FOLDERS     the test program build/release/tests/parity_export_folders

Writes golden/exports.ref.safetensors: for each CASE.FORMAT the logits of the loaded model on the images of CASE.ref, computed in float64 from
the exported float32 weights; and in the metadata the SHA-256 of each file that was loaded. test_export_folders.c holds gonio's exports
against both. A loader that reports a missing or an unexpected tensor, or makes other pixels than
gonio's preprocessing says, ends the script.

Made with torch 2.15.0, timm 1.0.31, transformers 5.24.0.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parent / 'golden'


def images_of(case):
    return load_file(GOLDEN / f'{case.removesuffix("_mean")}.ref.safetensors')['images']


def from_transformers(folder):
    config = json.loads((folder / 'config.json').read_text())
    kind = getattr(transformers, config['architectures'][0])
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), f'{folder.name}: {info}'
    assert list(model.config.id2label.values())[:2] == ['ash', 'b "x"'] and model.config.label2id['ash'] == 0
    automatic = transformers.AutoModelForImageClassification.from_pretrained(folder)
    assert config['architectures'][0].endswith('WithTeacher') or type(automatic) is kind, type(automatic)
    return lambda x: model.double().eval()(x).logits


def from_timm(folder):
    model = timm.create_model(f'local-dir:{folder}', pretrained=True)
    config = json.loads((folder / 'config.json').read_text())
    by_hand = timm.create_model(config['architecture'], num_classes=config['num_classes'], **config['model_args'])
    by_hand.load_state_dict(load_file(folder / 'model.safetensors'))
    for (name, one), (other, two) in zip(model.state_dict().items(), by_hand.state_dict().items(), strict=True):
        assert name == other and torch.equal(one, two), name
    assert list(model.pretrained_cfg['label_names'])[:2] == ['ash', 'b "x"']
    return lambda x: model.double().eval()(x)


def check_processor(folder):
    """The processor that the folder gives prepares a picture as gonio's metadata says: the same as timm's transform of these values."""
    rng = np.random.default_rng(3)
    picture = Image.fromarray(rng.integers(0, 256, (61, 61, 3), dtype=np.uint8))
    with safe_open(folder / 'model.safetensors', 'np') as file:
        said = json.loads(file.metadata()['gonio.preprocessing'])
        side = json.loads(file.metadata()['gonio.architecture'])['image_size']
    transform = timm.data.create_transform(input_size=(3, side, side), is_training=False, crop_pct=round(said['crop_pct'], 6), crop_mode='center',
                                           interpolation=said['interpolation'], mean=said['mean'], std=said['std'])
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend='pil')
    made = processor(picture, return_tensors='pt')['pixel_values'][0]
    wanted = transform(picture)
    assert made.shape == wanted.shape, f'{folder.name}: {made.shape}'
    resized = json.loads((folder / 'preprocessor_config.json').read_text())['size']['shortest_edge']
    if (resized - side) % 2 == 0:  # else both crop half a pixel beside the centre, transformers to the other side
        assert (made - wanted).abs().max() < 1e-5, f'{folder.name}: {(made - wanted).abs().max()}'


def main():
    tensors, hashes = {}, {}
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.argv[1]], env=os.environ | {'GN_EXPORTS_OUT': out}, check=True, stdout=subprocess.DEVNULL)
        for folder in sorted(Path(out).iterdir()):
            case, format = folder.name.rsplit('.', 1)
            logits = (from_timm if format == 'timm' else from_transformers)(folder)
            check_processor(folder)
            with torch.no_grad():
                tensors[folder.name] = logits(images_of(case).double()).float().contiguous()
            hashes[folder.name] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}
            print(folder.name, tuple(tensors[folder.name].shape))
    save_file(tensors, GOLDEN / 'exports.ref.safetensors', {'config': json.dumps({'sha256': hashes})})


main()
