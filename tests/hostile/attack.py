#!/usr/bin/env python3
"""Sends hostile inputs to a running service, and looks after each of them whether it is still well.

    attack.py --url http://127.0.0.1:8080 --pid PID --data FOLDER [--seed S] [--first N] [--count N] [--parallel K]
    attack.py --program build/release/gonio ...     starts the service itself, and again whenever it has ended

A finding is:
    the service ended
    no answer, or a status that is the service's own fault: 5xx but 503 and 507
    a refusal without a reason
    an answer after more than --seconds, without those in which others on this machine kept the processors
    a service that is busy when nobody waits any more
    a file that nobody owns
    a /healthz that takes a second
Each is printed with what makes its input again, and the exit status is then 1. At the end a table tells of each family what was answered and what it cost.
"""
import argparse
import contextlib
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'api'))
import generate
import make_inputs
from service import Service, exchange, hang_up, head_of, in_chunks
from shapes import CUT, WHOLE

OWN_FAULTS_ALLOWED = (503, 507)
THUMBNAILS = 4  # of a data set that was taken
PATIENCE = 10  # times --seconds: then nobody waits any more


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--url')
    parser.add_argument('--pid', type=int)
    parser.add_argument('--data')
    parser.add_argument('--program')
    parser.add_argument('--option', action='append', default=[], help='of the program, as --option=--threads=2')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--count', type=int, default=0, help='0: the worst shapes, each once')
    parser.add_argument('--only', type=int, help='one index')
    parser.add_argument('--sample', type=int, default=0, help='so many of the indices behind the worst shapes')
    parser.add_argument('--family', help='only inputs of this family')
    parser.add_argument('--parallel', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=10, help='an answer may take')
    # A hang-up reaches the service after the bytes before it; until it has read them, it may
    # compute for its --work-seconds, which are 5.
    parser.add_argument('--idle', type=float, default=7, help='seconds until the service rests')
    parser.add_argument('--healthz', type=float, default=1, help='seconds that /healthz may take')
    parser.add_argument('--settle', type=float, default=5, help='seconds until no file is left')
    # A picture of 100,000,000 pixels that arrives all at once: 8 bytes each in a WebP decoder.
    parser.add_argument('--megabytes', type=float, default=1200, help='of memory at the peak of a request; 0: any')
    parser.add_argument('--verbose', action='store_true')
    return parser.parse_args()


def among(indices):
    return f' (one of {indices[0]} to {indices[-1]})' if len(indices) > 1 else ''


class Attack:
    def __init__(self, said):
        self.said = said
        self.findings, self.records = [], []
        self.told = set()  # files that were complained of
        if said.program:
            folder = Path(said.data or tempfile.mkdtemp(prefix='hostile-'))
            self.service = Service(folder / 'data', program=said.program, options=said.option)
            self.service.start()
        else:
            self.service = Service(said.data, int(said.url.rsplit(':', 1)[1]), said.pid)
        self.prepare()

    # ------------------------------------------------------------ before

    def prepare(self):
        """The model and the data set that requests name. Their rows and files are the ground that is looked for after each input."""
        if self.service.ask('GET', f'/v1/models/{generate.MODEL}').status == 404:
            self.service.ask('POST', '/v1/models', generate.MODEL_BODY, 'application/json')
        if self.service.ask('GET', f'/v1/datasets/{generate.DATASET}').status == 404:
            archive = make_inputs.zip_bytes(make_inputs.THREE)
            self.service.ask('POST', f'/v1/datasets?name={generate.DATASET}', archive, 'application/zip')
        rows = self.service.rows()
        if len([row for row in rows if row.startswith(('models/', 'datasets/'))]) < 2:
            raise SystemExit('the service does not take a model and a data set')
        self.ground = set(rows)
        self.model = next(row for row in rows if row.startswith('models/'))
        self.files = self.service.files('models', 'datasets', 'runs', 'soups', 'evaluations')

    # ------------------------------------------------------------ one input

    def found(self, index, text):
        """Of a batch, the last index stands for all."""
        self.findings.append((index, text))
        print(f'FINDING index {index}: {text}')
        print(f'    generate.py {self.said.seed} {index} > file; attack.py ... --seed {self.said.seed} --only {index}', flush=True)

    def send(self, item):
        body = in_chunks(item.body) if item.chunked else item.body
        head = head_of(item.method, item.path, item.kind, len(item.body), item.chunked)
        if item.manner == WHOLE:
            before = self.service.waits_now()
            answer = exchange(self.service.port, head, body, item.method, PATIENCE * self.said.seconds)
            answer.delay = min(answer.seconds, self.service.delay_since(before))
            return answer
        hang_up(self.service.port, head, body, 0.5 if item.manner == CUT else 1, self.said.seconds)
        return None

    def judge(self, index, item, answer):
        """What is wrong with an answer."""
        if answer.late:
            self.found(index, f'{item.shape}: no answer in {answer.seconds:.1f} s')
            return
        if answer.seconds - answer.delay > self.said.seconds:
            self.found(index, f'{item.shape}: {answer.status} only after {answer.seconds:.1f} s, {answer.delay:.1f} s of them without a processor')
        if answer.status == 0:
            self.found(index, f'{item.shape}: the connection ended without an answer')
        elif answer.status >= 500 and answer.status not in OWN_FAULTS_ALLOWED:
            self.found(index, f'{item.shape}: status {answer.status}: {answer.body[:200]!r}')
        elif item.expect and answer.status not in item.expect:
            self.found(index, f'{item.shape}: status {answer.status}, not {item.expect}: {answer.body[:200]!r}')
        if item.wants and item.wants not in answer.body:
            self.found(index, f'{item.shape}: {item.wants!r} is not in {answer.body[:300]!r}')
        if 400 <= answer.status < 500:
            self.judge_refusal(index, item, answer)

    def judge_refusal(self, index, item, answer):
        says = answer.json()
        says = says if isinstance(says, dict) else {}
        if item.path.startswith('/v2/'):  # the protocol's own form of an error
            if not says.get('error'):
                self.found(index, f'{item.shape}: {answer.status} without an error: {answer.body[:200]!r}')
        elif answer.kind != 'application/problem+json' or not says.get('detail'):
            self.found(index, f'{item.shape}: {answer.status} as {answer.kind} without a detail: {answer.body[:200]!r}')

    def look_at_pictures(self, index, item, answer):
        """Thumbnails and whole pictures of a data set that was taken."""
        made = answer.json() or {}
        if answer.status != 201 or not item.path.startswith('/v1/datasets') or 'id' not in made:
            return
        for number in range(min(THUMBNAILS, sum(made.get('images', {}).values()))):
            for size in ('?size=64', ''):
                path = f'/v1/datasets/{made["id"]}/images/{number}{size}'
                before = self.service.waits_now()
                seen = self.service.ask('GET', path, limit=PATIENCE * self.said.seconds)
                if seen.status != 200 or seen.seconds - self.service.delay_since(before) > self.said.seconds:
                    self.found(index, f'{item.shape}: GET image {number}{size}: status {seen.status} after {seen.seconds:.1f} s')

    def one(self, index):
        item = generate.make(self.said.seed, index)
        start = time.monotonic()
        answer = self.send(item)
        if answer:
            self.judge(index, item, answer)
            self.look_at_pictures(index, item, answer)
        return index, item, answer, answer.seconds - answer.delay if answer else time.monotonic() - start

    # ------------------------------------------------------------ after

    def clean(self, indices):
        """Deletes what the inputs made. Then nothing of them may be left."""
        index, service, batch = indices[-1], self.service, among(indices)
        if service.ask('GET', f'/v1/models/{generate.MODEL}').status == 404:  # it has been renamed
            service.ask('PATCH', f'/v1/{self.model}', b'{"name":"%s"}' % generate.MODEL.encode(), 'application/json')
        rows = [row for row in service.rows() if row not in self.ground]
        for row in rows:
            if not service.remove(row):
                self.found(index, f'{row} cannot be removed')
        end = time.monotonic() + self.said.settle
        while time.monotonic() < end:
            left = service.files('tmp') | (service.files('models', 'datasets', 'runs', 'soups', 'evaluations') - self.files)
            if not left:
                return
            for row in service.rows():  # made after its client had gone
                if row not in self.ground:
                    service.remove(row)
            time.sleep(0.1)
        if left - self.told:
            self.found(index, f'left in the data folder: {sorted(left - self.told)[:5]}{batch}')
            self.told |= left

    def rest(self, indices, nobody_waits):
        index, service, batch = indices[-1], self.service, among(indices)
        slept = service.idle_after(self.said.idle) if nobody_waits else 0
        if slept is None:
            self.found(index, f'busy {self.said.idle:.1f} s after the client had gone{batch}')
            if service.idle_after(30) is None:
                self.found(index, 'busy for 30 s more')
                service.stop(limit=1)  # if it is ours
        before = service.waits_now()
        health = service.ask('GET', '/healthz', limit=30)
        if service.alive() and (health.status != 200 or health.seconds - service.delay_since(before) > self.said.healthz):
            self.found(index, f'/healthz: status {health.status} after {health.seconds:.1f} s{batch}')

    def died(self, indices, answers_missing=False):
        """True when the attack cannot go on."""
        end = time.monotonic() + 10
        while answers_missing and self.service.alive() and time.monotonic() < end:  # dying takes a moment
            if self.service.ask('GET', '/healthz', limit=5).status == 200:
                break
            time.sleep(0.1)
        if self.service.alive():
            return False
        self.found(indices[-1], f'the service ended{among(indices)}')
        if not self.service.program:
            return True
        self.service.start()
        self.prepare()
        return False

    def batch(self, indices, threads):
        service = self.service
        service.forget_peak()
        before = service.cpu()
        done = list(threads.map(self.one, indices))
        cpu, peak = service.cpu() - before, service.peak_megabytes()
        missing = any(answer and answer.status == 0 for _, _, answer, _ in done)
        if not self.died(indices, missing):
            gone = any(answer is None or answer.late for _, _, answer, _ in done)
            if service.alive():
                self.rest(indices, gone)
            if not self.died(indices):
                self.clean(indices)
        self.judge_cost(indices, cpu, peak)
        for index, item, answer, seconds in done:
            status = 'hung up' if answer is None else 'late' if answer.late else answer.status
            self.records.append((item.family, item.shape, index, status, seconds, cpu / len(done), peak))
            if self.said.verbose:
                print(f'{index:5} {item.family:12} {item.shape:32} {len(item.body):9} bytes  {status:>7}  {seconds:6.2f} s '
                      f'{cpu / len(done):6.2f} s cpu {peak:6.0f} MB', flush=True)
        return service.alive()

    def judge_cost(self, indices, cpu, peak):
        said = self.said
        if cpu > said.seconds * len(indices):
            self.found(indices[-1], f'{cpu:.1f} s of processor time{among(indices)}')
        if said.megabytes and peak > said.megabytes * len(indices):
            self.found(indices[-1], f'{peak:.0f} MB of memory{among(indices)}')

    def run(self):
        said = self.said
        worst = generate.worst_count()
        indices = list(range(said.first, said.first + (said.count or worst)))
        if said.sample:
            indices = list(range(worst, worst + said.sample))
        if said.only is not None:
            indices = [said.only]
        if said.family:
            indices = [i for i in indices if generate.family_of(said.seed, i) == said.family]
        with ThreadPoolExecutor(said.parallel) as threads:
            for at in range(0, len(indices), said.parallel):
                if not self.batch(indices[at:at + said.parallel], threads):
                    print('the service has ended, so the attack ends')
                    break

    def table(self):
        print(f'{"family":12} {"inputs":>6}  {"slowest":>15}  {"most cpu":>15}  {"peak MB":>7}  statuses')
        for family in sorted({record[0] for record in self.records}):
            mine = [record for record in self.records if record[0] == family]
            slow, busy = max(mine, key=lambda r: r[4]), max(mine, key=lambda r: r[5])
            statuses = {}
            for record in mine:
                statuses[str(record[3])] = statuses.get(str(record[3]), 0) + 1
            shown = ', '.join(f'{status}: {count}' for status, count in sorted(statuses.items()))
            print(f'{family:12} {len(mine):6}  {slow[4]:6.2f} s (#{slow[2]:4})  {busy[5]:6.2f} s (#{busy[2]:4})  '
                  f'{max(r[6] for r in mine):7.0f}  {shown}')
        print(f'{len(self.records)} inputs, seed {self.said.seed}, {len(self.findings)} findings')


def main():
    attack = Attack(options())
    try:
        attack.run()
    finally:
        with contextlib.suppress(Exception):
            attack.service.stop()
        attack.table()
    sys.exit(1 if attack.findings else 0)


if __name__ == '__main__':
    main()
