#!/usr/bin/env python3
"""Proves the kernels of the CUDA backend free of races and of barrier errors, with SentryWard, a static verifier of PTX.

    proof.py LAUNCHES... [--verifier FILE] [--jobs N] [--timeout S] [--shapes N] [--planted N] [--readme FILE]

LAUNCHES: lines of JSON that the host runner wrote (GONIO_CUDA_HOST_LAUNCHES): the launches of real training steps, with their arguments.
Each kernel of engine/backend/cuda is compiled to PTX for sm_100a (what SentryWard models), and N of its launches (the
smallest, and others spread by size) are verified. Then barriers of a kernel that was proved are taken out in turn, N of them, and the verifier has to find
the race that this plants; a barrier whose absence it calls free of races too is counted apart. FILE's lines between `<!-- cuda-proof -->` and `<!-- /cuda-proof -->` become the table.

Exit status 1: a race or a barrier error was found. What the verifier declines is reported, not passed.
"""
import argparse
import collections
import concurrent.futures
import itertools
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BACKEND = SOURCE / 'engine' / 'backend' / 'cuda'
ARCH = 'sm_100a'
MEMORY = 4096  # MiB
BARRIER = re.compile(r'^\s*(?:@!?%p\d+\s+)?(?:bar\.sync|barrier\.sync|bar\.warp\.sync|barrier)\b.*$', re.M)
UNDECIDED = ('unsupported', 'timeout', 'failed', 'memory_limit')


def compile_ptx(source, folder):
    ptx = folder / (source.stem + '.ptx')
    subprocess.run(['nvcc', '-std=c++20', '-O3', f'-arch={ARCH}', '-ptx', '-I', SOURCE / 'engine', '-DGN_VERSION="proof"', source, '-o', ptx],
                   check=True)
    return ptx


def entries(text):
    """The kernels of a PTX file: name -> (start, end) of their text."""
    found = {}
    for match in re.finditer(r'^(?:\.visible |\.weak )?\.entry (\w+)\(', text, re.M):
        found[match.group(1)] = (match.start(), text.index('\n}', match.end()) + 2)
    return found


def one_kernel(text, name):
    """The file with this kernel alone: the verifier takes one."""
    places = entries(text)
    for other, (start, end) in sorted(places.items(), key=lambda item: -item[1][0]):
        if other != name:
            text = text[:start] + text[end:]
    return text.replace(f'.entry {name}(', f'.visible .entry {name}(') if f'.visible .entry {name}(' not in text else text


def value_of(launch, parameter, offset, size):
    """An argument's bytes as an unsigned number. parameter: NAME_param_N."""
    argument = bytes.fromhex(launch['arguments'][int(parameter.rsplit('_', 1)[1])])
    return int.from_bytes(argument[offset:offset + size], 'little')


def verify(options, ptx, launch, folder, tag):
    """One verdict. Values that steer control flow are given as the verifier asks for them."""
    given = {}
    input_file = folder / f'{tag}.json'
    for _ in range(12):
        arguments = []
        for (parameter, offset), size in sorted(given.items()):
            entry = {'parameter': parameter, 'type': f'u{size * 8}', 'value': value_of(launch, parameter, offset, size)}
            if offset:
                entry['offset'] = offset
            arguments.append(entry)
        shape = {'grid_dim': launch['grid'], 'block_dim': launch['block']}
        if launch['shared']:
            shape['dynamic_shared_bytes'] = launch['shared']
        input_file.write_text(json.dumps({'schema': 'spverify.kernel-input/v1', 'launch': shape, 'arguments': arguments}))
        done = subprocess.run([options.verifier, ptx, '--input', input_file, '--timeout', str(options.timeout), '--memory-limit-mib', str(MEMORY)],
                              capture_output=True, text=True)
        try:
            result = json.loads(done.stdout)
        except json.JSONDecodeError:
            return 'failed', (done.stderr or done.stdout).strip()[-200:]
        wanted = (result.get('details') or {}).get('required_parameters') or []
        fresh = {(w['parameter'], w['offset']): w['bytes'] for w in wanted if (w['parameter'], w['offset']) not in given}
        if not fresh:
            break
        given.update(fresh)
    reasons = [d.get('message', d.get('code', '')) for d in result.get('diagnostics') or []]
    return result['result'], reasons[0] if reasons else ''


def plant(text):
    """The kernel's text once for each of its barriers, without it."""
    for match in BARRIER.finditer(text):
        yield text[:match.start()] + text[match.end():]


def demangle(name):
    plain = subprocess.run(['c++filt', name], capture_output=True, text=True, check=True).stdout.strip()
    plain = plain.replace('void ', '', 1) if plain.startswith('void ') else plain
    depth = 0
    for i, letter in enumerate(plain):
        depth += (letter == '<') - (letter == '>')
        if letter == '(' and depth == 0:
            return plain[:i].replace('__nv_bfloat16', 'bf16')
    return plain


class Kernel:
    def __init__(self, name, source):
        self.name, self.source = name, source
        self.launches, self.verdicts = [], []
        self.planted = self.found = self.unneeded = 0

    def proved(self):
        return sum(verdict == 'race_free' for verdict, _ in self.verdicts)

    def thin(self, count):
        """Keeps so many launches, spread over those there are by size, the smallest always."""
        self.launches.sort(key=lambda launch: math.prod(launch['grid']) * math.prod(launch['block']))
        self.seen = len(self.launches)
        step = max(1, -(-len(self.launches) // count))
        self.launches = self.launches[::step][:count]

    def check(self, options, text, folder):
        tag = f'{self.source}-{abs(hash(self.name)):x}'
        ptx = folder / f'{tag}.ptx'
        ptx.write_text(one_kernel(text, self.name))
        self.verdicts = [verify(options, ptx, launch, folder, tag) for launch in self.launches]
        if not self.proved():
            return self.report()
        launch = self.launches[[verdict for verdict, _ in self.verdicts].index('race_free')]
        for broken in itertools.islice(plant(ptx.read_text()), options.planted):
            wrong = folder / f'{tag}-planted.ptx'
            wrong.write_text(broken)
            verdict, _ = verify(options, wrong, launch, folder, tag + '-planted')
            self.planted += 1
            self.unneeded += verdict == 'race_free'
            self.found += verdict not in UNDECIDED + ('race_free',)
        self.report()

    def report(self):
        print(f'{self.source} {demangle(self.name)}: {self.proved()} of {len(self.launches)} race-free, {self.found} of {self.planted} planted'
              f' found, {self.unneeded} not needed {self.declined()}', file=sys.stderr, flush=True)

    def declined(self):
        return collections.Counter(f'{verdict}: {why}' if why else verdict for verdict, why in self.verdicts if verdict != 'race_free')


def read_launches(files):
    kernels = {}
    for file in files:
        for line in pathlib.Path(file).read_text().splitlines():
            launch = json.loads(line)
            # g++ marks functions of one file with an L that nvcc leaves out.
            launch['kernel'] = re.sub('^_ZL', '_Z', launch['kernel'])
            key = (launch['source'], launch['kernel'])
            kernels.setdefault(key, Kernel(launch['kernel'], launch['source']))
            if launch not in kernels[key].launches:
                kernels[key].launches.append(launch)
    return kernels


def table(kernels, missing, versions, options):
    lines = [f'Made by `make cuda-proof` with {versions}, on PTX for {ARCH}, with the launches of training steps of ViT-Ti/16 and ViT-B/16',
             '(224 pixels) and of a ViT of width 100 with every option, each in float32 and bfloat16, batches of 2. A planted race is a',
             'barrier taken out; one that the verifier still calls free of races is counted as not needed at that shape. A verdict had',
             f'at most {options.timeout} seconds.', '',
             '| file | kernel | launches looked at | race-free | declined | planted races found | barriers not needed |',
             '|---|---|---|---|---|---|---|']
    for kernel in sorted(kernels, key=lambda k: (k.source, demangle(k.name))):
        text = '; '.join(f'{count} × {why}' for why, count in kernel.declined().items()) or '0'
        planted = f'{kernel.found} of {kernel.planted}' if kernel.planted else '-'
        lines.append(f'| {kernel.source} | `{demangle(kernel.name)}` | {len(kernel.launches)} of {kernel.seen} | {kernel.proved()} | {text} | {planted} | '
                     f'{kernel.unneeded if kernel.planted else "-"} |')
    if missing:
        lines += ['', 'Not launched by these steps, and so not looked at: ' + ', '.join(f'`{m}`' for m in sorted(missing)) + '.']
    return '\n'.join(lines) + '\n'


def write_readme(path, text):
    old = path.read_text()
    begin, end = '<!-- cuda-proof -->\n', '<!-- /cuda-proof -->'
    if begin not in old or end not in old:
        sys.exit(f'{path} has no lines {begin.strip()} and {end}')
    path.write_text(old[:old.index(begin) + len(begin)] + text + old[old.index(end):])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('launches', nargs='+')
    parser.add_argument('--verifier', default='sentryward')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--timeout', type=int, default=60)
    parser.add_argument('--shapes', type=int, default=3)
    parser.add_argument('--planted', type=int, default=3)
    parser.add_argument('--readme', type=pathlib.Path)
    options = parser.parse_args()
    kernels = read_launches(options.launches)
    for kernel in kernels.values():
        kernel.thin(options.shapes)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts = {source.name: compile_ptx(source, folder).read_text() for source in sorted(BACKEND.glob('*.cu'))}
        every = {(source, entry) for source, text in texts.items() for entry in entries(text)}
        unknown = set(kernels) - every
        if unknown:
            sys.exit(f'launched, but not in the PTX: {unknown}')
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda item: item[1].check(options, texts[item[0][0]], folder), kernels.items()))
    missing = {demangle(entry) for source, entry in every - set(kernels)}
    compiler = subprocess.run(['nvcc', '--version'], capture_output=True, text=True, check=True).stdout
    release = re.search(r'release (\S+), (\S+)', compiler)
    package = subprocess.run([str(pathlib.Path(options.verifier).with_name('pip')), 'show', 'sentryward'], capture_output=True, text=True)
    version = re.search(r'^Version: (\S+)', package.stdout, re.M)
    text = table(kernels.values(), missing, f'SentryWard {version.group(1) if version else "?"} and nvcc {release.group(2)}', options)
    print(text)
    if options.readme:
        write_readme(options.readme, text)
    bad = [k for k in kernels.values() for verdict, _ in k.verdicts if verdict not in UNDECIDED + ('race_free',)]
    for kernel in bad:
        print(f'{kernel.source}: {demangle(kernel.name)}: {kernel.verdicts}', file=sys.stderr)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
