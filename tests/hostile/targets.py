"""Where inputs go: the requests that carry a picture, an archive or a checkpoint, and the resources that they name."""
import base64
import json

import make_inputs
from shapes import Input

MODEL, DATASET = 'prey', 'prey-pictures'
MODEL_BODY = json.dumps({
    'name': MODEL, 'init': 'random', 'labels': ['blue', 'green', 'red'],
    'architecture': {'image_size': 32, 'patch_size': 8, 'dim': 32, 'depth': 2, 'heads': 2, 'mlp_dim': 64, 'classes': 3, 'pool': 'cls'},
}).encode()

FEW = make_inputs.classes(['blue', 'red'], 2)  # enough to be a data set, whatever becomes of the picture beside them


def form_of(parts, boundary=b'xyz'):
    """A form of (name, file name, bytes)."""
    pieces = []
    for name, filename, data in parts:
        pieces.append(b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n' % (boundary, name.encode(), filename.encode()))
        pieces += [data, b'\r\n']
    return b''.join(pieces) + b'--%s--\r\n' % boundary


def form(path, parts, **more):
    return Input('POST', path, 'multipart/form-data; boundary=xyz', form_of(parts), **more)


def classify(data, kind='image/png', **more):
    return Input('POST', f'/v1/models/{MODEL}/classify', kind, data, **more)


def infer(data, **more):
    body = {'inputs': [{'name': 'image', 'datatype': 'BYTES', 'shape': [1], 'data': [base64.b64encode(data).decode()]}]}
    return Input('POST', f'/v2/models/{MODEL}/infer', 'application/json', json.dumps(body).encode(), **more)


def dataset(archive, **more):
    return Input('POST', '/v1/datasets', 'application/octet-stream', archive, **more)


def dataset_with(data, name='red/worst.png', **more):
    """The picture beside good ones in a zip. It comes last, so that the others are there already."""
    return dataset(make_inputs.zip_bytes(FEW + [(name, data)]), **more)


def model(data, **more):
    return Input('POST', '/v1/models', 'application/octet-stream', data, **more)


def ask(method, path, body, **more):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Input(method, path, 'application/json', data, **more)
