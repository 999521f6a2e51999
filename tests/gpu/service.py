"""service.py PROGRAMS SECONDS [--small]: the service on the GPU, end to end, on synthetic pictures.

Starts PROGRAMS/gonio with --device cuda, uploads a data set that PROGRAMS/shapes draws, trains a fresh
model in full and the result in its last third, and classifies a picture with what came out. The last
line says what was reached. --small: sizes for a GPU that the host runner plays.
"""
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile

PROGRAMS, LIMIT, SMALL = pathlib.Path(sys.argv[1]), float(sys.argv[2]), '--small' in sys.argv
BEGAN = time.monotonic()
SIDE, DIM, DEPTH, PICTURES, BATCH = (32, 48, 3, 4, 16) if SMALL else (64, 192, 6, 100, 64)
ARCHITECTURE = {'image_size': SIDE, 'patch_size': 16, 'dim': DIM, 'depth': DEPTH, 'heads': 3, 'mlp_dim': 4 * DIM,
                'classes': 10, 'pool': 'cls'}


class Service:
    """A gonio that serves the folder on a free port, until close."""

    def __init__(self, folder):
        self.log = folder / 'log'
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            address = f'127.0.0.1:{probe.getsockname()[1]}'
        self.base = f'http://{address}'
        command = [PROGRAMS / 'gonio', 'serve', '--data', folder / 'data', '--listen', address, '--device', 'cuda',
                   '--disk-reserve', '0']
        self.process = subprocess.Popen(command, stderr=self.log.open('w'))

    def call(self, method, path, body=None, kind='application/json'):
        """The reply to a request, as JSON; body: bytes, or what becomes JSON."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        headers = {'Content-Type': kind} if data else {}
        request = urllib.request.Request(self.base + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.loads(reply.read() or 'null')
        except urllib.error.HTTPError as error:
            raise SystemExit(f'{method} {path}: {error.code} {error.read().decode()[:300]}') from error

    def wait_until_ready(self):
        while True:
            try:
                with urllib.request.urlopen(self.base + '/readyz', timeout=10):
                    return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f'the service ended: {self.log.read_text()[-200:].strip()}') from None
                must_have_time('the start')
                time.sleep(0.1)

    def train(self, name, model, strategy, head):
        """The result of a run that is waited for."""
        self.call('POST', '/v1/runs', {'name': name, 'model': model, 'dataset': 'shapes', 'strategy': strategy,
                                       'epochs': 3, 'batch_size': BATCH, 'lr': 1e-3, 'head': head})
        while (run := self.call('GET', f'/v1/runs/{name}'))['status'] in ('queued', 'running'):
            must_have_time(f'run {name}, at {run.get("progress")}')
            time.sleep(0.2)
        if run['status'] != 'succeeded':
            raise SystemExit(f'run {name}: {run["status"]} {run.get("error")}')
        return run['result']

    def close(self):
        self.process.terminate()
        self.process.wait(30)  # its workers end with it
        print(self.log.read_text())


def must_have_time(what):
    if time.monotonic() - BEGAN > LIMIT:
        raise SystemExit(f'not done in {LIMIT:.0f} s: {what}')


def draw_pictures(folder):
    """An archive of synthetic pictures, and one of its validation pictures."""
    sizes = ['--size', str(SIDE), '--train', str(PICTURES), '--val', str(max(2, PICTURES // 5))]
    subprocess.run([PROGRAMS / 'shapes', '--domain', 'a', *sizes, folder / 'a'], check=True, stdout=subprocess.DEVNULL)
    files = sorted((folder / 'a').rglob('*.jpg'))
    with zipfile.ZipFile(folder / 'a.zip', 'w') as archive:
        for file in files:
            archive.write(file, file.relative_to(folder / 'a'))
    return (folder / 'a.zip').read_bytes(), next(file for file in files if '/val/' in str(file))


def try_all(service, archive, picture):
    service.wait_until_ready()
    service.call('POST', '/v1/datasets?name=shapes', archive, 'application/zip')
    service.call('POST', '/v1/models', {'name': 'fresh', 'init': 'random', 'seed': 1, 'architecture': ARCHITECTURE})
    full = service.train('full', 'fresh', 'full', 'random')
    last = service.train('last-third', full['model'], 'last_third', 'keep')
    answer = service.call('POST', f'/v1/models/{last["model"]}/classify?top=1', picture.read_bytes(), 'image/jpeg')
    device = service.call('GET', '/v1/info')['device']
    if device['backend'] != 'cuda':
        raise SystemExit(f'the service computes on {device}')
    words = [f'{name}: accuracy {result["val_accuracy"]:.3f} in {result["seconds"]:.1f} s'
             for name, result in (('full', full), ('last third', last))]
    return f'{"; ".join(words)}; {picture.parent.name} seen as {answer["predictions"][0]["label"]}'


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        archive, picture = draw_pictures(folder)
        service = Service(folder)
        try:
            words = try_all(service, archive, picture)
        finally:
            service.close()
        print(words)


main()
