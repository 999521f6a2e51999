"""What the driver knows of a running service: its processor time, its memory, its folders, and how to ask it things.

A request is sent over a connection of its own. The answer is read as soon as it comes, also while the body is still on its way.
"""
import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf('SC_CLK_TCK')
PIECE = 256 * 1024
KINDS = ('sweeps', 'evaluations', 'soups', 'runs', 'models', 'datasets')
JOBS = ('sweeps', 'evaluations', 'soups', 'runs')


@dataclass
class Answer:
    status: int = 0  # 0: the connection ended without an answer
    kind: str = ''
    body: bytes = b''
    headers: dict = field(default_factory=dict)
    seconds: float = 0.0
    delay: float = 0.0  # of them, those in which the service waited for a processor
    early: bool = False  # it came before the body was through
    late: bool = False  # none came in time

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None


# ---------------------------------------------------------------- a request

def head_of(method, path, kind, length, chunked):
    lines = [f'{method} {path} HTTP/1.1', 'Host: 127.0.0.1', 'Connection: close']
    if kind:
        lines.append(f'Content-Type: {kind}')
    if chunked:
        lines.append('Transfer-Encoding: chunked')
    elif length is not None:
        lines.append(f'Content-Length: {length}')
    return '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n'


def in_chunks(body):
    pieces = [body[at:at + 60000] for at in range(0, len(body), 60000)]
    return b''.join(b'%x\r\n%s\r\n' % (len(piece), piece) for piece in pieces) + b'0\r\n\r\n'


def send_all(sock, data, deadline):
    """Sends until everything is out or an answer is there. Returns how many bytes went out."""
    view, sent = memoryview(data), 0
    while sent < len(view):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        readable, writable, _ = select.select([sock], [sock], [], left)
        if readable:
            break
        if writable:
            sent += sock.send(view[sent:sent + PIECE])
    return sent


def read_answer(sock, method, deadline):
    sock.settimeout(max(0.1, deadline - time.monotonic()))
    response = http.client.HTTPResponse(sock, method=method)
    response.begin()
    body = response.read(64 << 20)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers.get('content-type', '').split(';')[0], body, headers)


def exchange(port, head, body, method='POST', limit=30.0):
    """One request and its answer. A broken connection is an answer with status 0."""
    start = time.monotonic()
    deadline = start + limit
    answer, sent = Answer(), 0
    try:
        with socket.create_connection(('127.0.0.1', port), timeout=limit) as sock:
            with contextlib.suppress(ConnectionError):  # the answer may stand before the broken pipe
                sock.sendall(head)
                sock.setblocking(False)
                sent = send_all(sock, body, deadline)
            answer = read_answer(sock, method, deadline)
    except TimeoutError:
        answer.late = True
    except (OSError, http.client.HTTPException):
        pass
    answer.seconds = time.monotonic() - start
    answer.early = sent < len(body)
    return answer


def hang_up(port, head, body, share, limit=30.0):
    """Sends a share of the body, and is gone."""
    part = body[:int(len(body) * share)]
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), timeout=limit) as sock:
        sock.sendall(head)
        sock.setblocking(False)
        send_all(sock, part, time.monotonic() + limit)


# ---------------------------------------------------------------- a process

def cpu_of(pid):
    """Seconds of processor time of a process and of the children that it has waited for."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / TICKS


def children_of(pid):
    found = []
    for task in Path(f'/proc/{pid}/task').glob('*/children'):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


class Service:
    """A service that runs already, or, with a program, one that is started here and again after each death."""

    def __init__(self, data, port=0, pid=0, program=None, options=()):
        self.data, self.port, self.pid = Path(data), port, pid
        self.program, self.options, self.process = program, options, None
        self.log = self.data.parent / 'hostile-service.log'
        self.waits = {}
        threading.Thread(target=self.watch, daemon=True).start()

    # life

    def start(self, limit=60):
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, 'ab') as log:
            said = log.tell()
            self.process = subprocess.Popen(
                [self.program, 'serve', '--data', self.data, '--listen', '127.0.0.1:0', '--disk-reserve', '0', *self.options],
                stdout=subprocess.DEVNULL, stderr=log)
        self.pid = self.process.pid
        end = time.monotonic() + limit
        while time.monotonic() < end and self.alive():
            for line in self.log.read_bytes()[said:].decode('utf-8', 'replace').splitlines():
                if 'listening on http://' in line:
                    self.port = int(line.rsplit(':', 1)[1])
                    return
            time.sleep(0.05)
        raise SystemExit(f'the service does not start: {self.log}')

    def alive(self):
        if self.process:
            return self.process.poll() is None
        try:
            return Path(f'/proc/{self.pid}/stat').read_text().rsplit(')', 1)[1].split()[0] not in 'ZX'
        except OSError:
            return False

    def stop(self, how=signal.SIGTERM, limit=60):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # figures

    def cpu(self):
        """Seconds of processor time, with those of its workers."""
        total = 0.0
        with contextlib.suppress(OSError, IndexError):
            total = cpu_of(self.pid)
            for child in children_of(self.pid):
                with contextlib.suppress(OSError, IndexError):
                    total += cpu_of(child)
        return total

    def note_waits(self):
        """How long each thread has waited for a processor so far. Threads that have ended keep what they had."""
        for task in Path(f'/proc/{self.pid}/task').glob('*/schedstat'):
            with contextlib.suppress(OSError, IndexError):
                self.waits[task.parent.name] = int(task.read_text().split()[1]) / 1e9

    def watch(self):
        while True:
            time.sleep(0.05)
            self.note_waits()

    def waits_now(self):
        self.note_waits()
        return dict(self.waits)

    def delay_since(self, before):
        """The longest that one thread has waited for a processor since then: what others on this machine cost a request, or a little less."""
        return max((wait - before.get(thread, 0) for thread, wait in self.waits_now().items()), default=0)

    def working(self):
        """Whether any thread of the service or of its workers wants a processor. What it gets of one says little on a machine that others use, too."""
        for pid in [self.pid, *children_of(self.pid)]:
            for task in Path(f'/proc/{pid}/task').glob('*/stat'):
                with contextlib.suppress(OSError, IndexError):
                    if task.read_text().rsplit(')', 1)[1].split()[0] in 'RD':
                        return True
        return False

    def idle_after(self, limit):
        """Seconds until the service rests for a fifth of a second, or None."""
        start = rested = time.monotonic()
        looks = busy = 0
        while time.monotonic() - start < limit + 0.2:
            looks, busy = looks + 1, busy + self.working()
            time.sleep(0.02)
            if time.monotonic() - rested >= 0.2:
                if busy <= looks // 5:
                    return rested - start
                rested, looks, busy = time.monotonic(), 0, 0
        return None

    def forget_peak(self):
        with contextlib.suppress(OSError):
            Path(f'/proc/{self.pid}/clear_refs').write_text('5')

    def peak_megabytes(self):
        with contextlib.suppress(OSError):
            for line in Path(f'/proc/{self.pid}/status').read_text().splitlines():
                if line.startswith('VmHWM'):
                    return int(line.split()[1]) / 1024
        return 0.0

    def files(self, *folders):
        """What the folders of the data directory hold, one level deep."""
        return {f'{folder}/{path.name}' for folder in folders for path in (self.data / folder).glob('*')}

    # requests

    def ask(self, method, path, body=b'', kind='', limit=30.0):
        return exchange(self.port, head_of(method, path, kind, len(body) if body else None, False), body, method, limit)

    def rows(self):
        """The rows of every kind, newest first: kind/id."""
        found = []
        for kind in KINDS:
            listed = self.ask('GET', f'/v1/{kind}').json() or {}
            found += [f'{kind}/{item["id"]}' for item in listed.get('items', [])]
        return found

    def remove(self, row, limit=30.0):
        """Cancels and deletes a row; a job ends first."""
        end = time.monotonic() + limit
        kind = row.split('/')[0]
        if kind in JOBS:
            self.ask('POST', f'/v1/{row}/cancel')
        while time.monotonic() < end:
            answer = self.ask('DELETE', f'/v1/{row}' + ('?runs=true' if kind == 'sweeps' else ''))
            if answer.status in (204, 404):
                return True
            time.sleep(0.1)
        return False
