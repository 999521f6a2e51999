#!/usr/bin/env python3
"""Many hostile clients at once, and one who only wants a picture classified.

    starve.py --url http://127.0.0.1:8080 --pid PID --data FOLDER [--attack NAME] [--clients 70] [--seconds 2]
    starve.py --program build/release/gonio ...

What each client does:
    bombs      uploads an archive of three layers of gzip
    archives   uploads 20 pictures of 100,000,000 pixels in an archive
    squares    sends such pictures for classification
    json       sends 24 MB of JSON for inference
    slow       sends a byte of an upload a second
All the while a small picture is classified every 0.2 seconds. Every classification must be 200 within --seconds. The clients' requests must end with an answer,
or with a 503 that says when to try again; those that have too much to do hang up after --patience. Then the service must rest within --idle. Its
memory must stay below --megabytes.
"""
import argparse
import contextlib
import select
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'api'))
import archives
import bodies
import forms
import generate
import make_inputs
from service import Service, exchange, head_of, read_answer
from targets import dataset

EVERY = 0.2


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--url')
    parser.add_argument('--pid', type=int)
    parser.add_argument('--data')
    parser.add_argument('--program')
    parser.add_argument('--attack', choices=('bombs', 'archives', 'squares', 'json', 'slow'), default='bombs')
    parser.add_argument('--clients', type=int, default=70)
    parser.add_argument('--seconds', type=float, default=2, help='that a classification may take')
    parser.add_argument('--patience', type=float, default=60, help='seconds after which the hostile clients hang up')
    parser.add_argument('--megabytes', type=float, default=3000, help='that the service may take')
    parser.add_argument('--idle', type=float, default=2, help='seconds until the service rests')
    return parser.parse_args()


# ---------------------------------------------------------------- the clients

def quick(service, item, limit):
    return exchange(service.port, head_of(item.method, item.path, item.kind, len(item.body), False), item.body, item.method, limit)


def slowly(service, item, limit):
    """A byte a second, until there is an answer or nobody waits any more."""
    start = time.monotonic()
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', service.port)) as sock:
        sock.sendall(head_of(item.method, item.path, item.kind, len(item.body), False))
        for at in range(len(item.body)):
            if time.monotonic() - start > limit:
                break
            if select.select([sock], [], [], 1)[0]:
                return read_answer(sock, item.method, time.monotonic() + 5)
            sock.sendall(item.body[at:at + 1])
    return None


def hostile(said):
    """What each client does: how, with which input."""
    if said.attack == 'squares':
        data = forms.flat(10_000, 10_000)
        return quick, forms.form(forms.CLASSIFY, [('a', f'{i}.png', data) for i in range(20)])
    if said.attack == 'slow':
        return slowly, dataset(make_inputs.zip_bytes(make_inputs.THREE))
    if said.attack == 'json':
        return quick, bodies.infer_empty_pictures(None)
    if said.attack == 'archives':
        return quick, archives.twenty_squares(None)
    return quick, dataset(archives.triple_gzip())


# ---------------------------------------------------------------- the test

def classify_until(service, said, ended, seen):
    picture = make_inputs.picture(0, 0)
    path = f'/v1/models/{generate.MODEL}/classify'
    while not ended.is_set():
        start = time.monotonic()
        answer = service.ask('POST', path, picture, 'image/png', limit=30)
        seen.append((answer.status, answer.seconds))
        ended.wait(max(0, EVERY - (time.monotonic() - start)))


def refusal(answer, said):
    """What is wrong with the end of an upload, or None."""
    if answer is None or answer.late:
        return None if said.attack != 'bombs' else 'no answer'  # it had too much to do, or was too slow
    if answer.status == 503:
        return None if 'retry-after' in answer.headers else '503 without Retry-After'
    if said.attack in ('squares', 'archives') and answer.status in (200, 201):
        return None
    return None if 400 <= answer.status < 500 else f'status {answer.status}'


def counted(values):
    values = list(values)
    return ', '.join(f'{values.count(value)} x {value}' for value in sorted(set(values), key=str))


def starve(service, said):
    findings, seen, ends = [], [], []
    send, item = hostile(said)
    ended = threading.Event()
    watcher = threading.Thread(target=classify_until, args=(service, said, ended, seen))
    clients = [threading.Thread(target=lambda: ends.append(send(service, item, said.patience))) for _ in range(said.clients)]
    service.forget_peak()
    start = time.monotonic()
    watcher.start()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = time.monotonic() - start
    ended.set()
    watcher.join()
    rested = service.idle_after(max(said.idle, 60))
    if not service.alive():
        findings.append('the service ended')
    elif rested is None or rested > said.idle:
        findings.append(f'busy {rested if rested else 60:.1f} s after the clients had gone')
    peak = service.peak_megabytes()
    if peak > said.megabytes:
        findings.append(f'{peak:.0f} MB of memory')
    bad = [(status, seconds) for status, seconds in seen if status != 200 or seconds > said.seconds]
    if bad:
        findings.append(f'{len(bad)} of {len(seen)} classifications failed or took over {said.seconds} s: {counted(status for status, _ in bad)}, '
                        f'the slowest {max(seconds for _, seconds in bad):.1f} s')
    wrong = [text for text in (refusal(answer, said) for answer in ends) if text]
    if wrong:
        findings.append(f'uploads ended wrongly: {counted(wrong)}')
    statuses = counted('none' if answer is None or answer.late else answer.status for answer in ends)
    slowest = max((seconds for _, seconds in seen), default=0)
    print(f'{said.attack}: {said.clients} clients in {took:.1f} s: {statuses}; {len(seen)} classifications, the slowest {slowest:.2f} s; '
          f'at rest after {rested if rested is not None else 60:.1f} s; peak {peak:.0f} MB')
    return findings


def main():
    said = options()
    if said.program:
        service = Service(Path(said.data or tempfile.mkdtemp(prefix='starve-')) / 'data', program=said.program)
        service.start()
    else:
        service = Service(said.data, int(said.url.rsplit(':', 1)[1]), said.pid)
    if service.ask('GET', f'/v1/models/{generate.MODEL}').status == 404:
        service.ask('POST', '/v1/models', generate.MODEL_BODY, 'application/json')
    try:
        findings = starve(service, said)
    finally:
        service.stop()
    for text in findings:
        print(f'FINDING {said.attack}: {text}')
    sys.exit(1 if findings else 0)


if __name__ == '__main__':
    main()
