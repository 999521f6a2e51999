#!/usr/bin/env python3
"""Proves the kernels of the CUDA backend free of races and of barrier errors, with SentryWard, a static verifier of PTX.

    proof.py LAUNCHES... [--verifier FILE] [--jobs N] [--timeout S] [--minutes M] [--planted N] [--readme FILE]

LAUNCHES: files NAME.PRECISION.json, of lines of JSON that the host runner wrote (GONIO_CUDA_HOST_LAUNCHES): launches of real training
steps, with their arguments. NAME is a model and the pixels of its pictures' sides, "Ti-224". Of each kernel of engine/backend/cuda,
compiled to PTX for sm_100a (what SentryWard models), the smallest launch of each NAME is verified, and of each model's smallest
pictures the largest too, in the order of threads times pixels; where one takes too long, the larger ones are not tried. A kernel that no
model launches gets one of the files without pixels in their name: rest (tests/cuda/launches.c), else harness (tests/device/test_kernels.c).

What the verifier is told: the launch's shape; every number among the arguments that the kernel reads; and which of the pointers are equal. Those
that are not are taken to be memory that does not overlap. Where control depends on data, it is asked again with its assumption
"representative_branches" (one way is taken at each such branch); such a verdict is counted apart.

Then each barrier of a kernel that was proved is taken out in turn (N at most), and the verifier has to find the race that this plants, at one of the
launches that were proved; a barrier whose absence is free of races at all of them is counted apart.

FILE's lines between `<!-- cuda-proof -->` and `<!-- /cuda-proof -->` become the table. Nothing is begun after M minutes.

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
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BACKEND = SOURCE / 'engine' / 'backend' / 'cuda'
ARCH = 'sm_100a'
MEMORY = 5000  # MiB
BARRIER = re.compile(r'^\s*(?:@!?%p\d+\s+)?(?:bar\.sync|barrier\.sync|bar\.warp\.sync|barrier)\b.*$', re.M)
PARAMETER = re.compile(r'ld\.param(?:\.v([24]))?\.([busf])(\d+)\s+\{?[^\[]*\[\w+_param_(\d+)(?:\+(\d+))?\]')
ONE_WAY = 'race_free, one way'  # where branches depend on data
UNDECIDED = ('unsupported', 'timeout', 'failed', 'memory_budget_exceeded', 'analysis_budget_exceeded', 'allocation_failed', 'not tried')
LONG = ('timeout', 'memory_budget_exceeded', 'analysis_budget_exceeded', 'not tried')


def compile_ptx(source, folder):
    ptx = folder / (source.stem + '.ptx')
    subprocess.run(['nvcc', '-std=c++20', '-O3', '-lineinfo', f'-arch={ARCH}', '-ptx', '-I', SOURCE / 'engine', '-DGN_VERSION="proof"', source, '-o', ptx],
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


def describe(text, launch):
    """The launch as the verifier takes it. text: the kernel's."""
    pointers = {(argument, offset): number for argument, offset, number in launch['pointers']}
    declarations = [{'parameter': argument, 'offset': offset, 'type': 'pointer', 'space': 'global', 'object': f'memory{number}'}
                    for (argument, offset), number in pointers.items()]
    values = {}
    for lanes, kind, bits, parameter, offset in PARAMETER.findall(text):
        for lane in range(int(lanes or 1)):
            at = int(parameter), int(offset or 0) + lane * int(bits) // 8
            if at in pointers or kind == 'f':
                continue
            number = int.from_bytes(bytes.fromhex(launch['arguments'][at[0]])[at[1]:at[1] + int(bits) // 8], 'little')
            if bits == '64' and not number:  # NULL, as far as one can tell
                values[at] = ('pointer', None)
            else:
                values[at] = (f'u{bits}', number)
    # A parameter that the kernel indexes: all of its words.
    for parameter in map(int, set(re.findall(r'mov\.[bu]64\s+%rd\d+,\s+\w+_param_(\d+);', text))):
        raw = bytes.fromhex(launch['arguments'][parameter])
        for at in range(0, len(raw) - 7, 8):
            if (parameter, at) not in pointers and (parameter, at) not in values and (parameter, at + 4) not in values:
                values[parameter, at] = ('u64', int.from_bytes(raw[at:at + 8], 'little'))
    shape = {'grid_dim': launch['grid'], 'block_dim': launch['block']}
    if launch['shared']:
        shape['dynamic_shared_bytes'] = launch['shared']
    return {'schema': 'spverify.kernel-input/v1', 'launch': shape, 'declarations': declarations,
            'arguments': [{'parameter': parameter, 'offset': offset, 'type': kind, 'value': value}
                          for (parameter, offset), (kind, value) in sorted(values.items())]}


def ask(options, ptx, description, input_file):
    input_file.write_text(json.dumps(description))
    done = subprocess.run([options.verifier, ptx, '--input', input_file, '--timeout', str(options.timeout), '--memory-limit-mib', str(MEMORY)],
                          capture_output=True, text=True)
    try:
        result = json.loads(done.stdout)
    except json.JSONDecodeError:
        return 'failed', (done.stderr or done.stdout).strip()[-200:]
    reasons = [d.get('message', d.get('code', '')) for d in result.get('diagnostics') or []]
    verdict = result['result'] if result['result'] != 'tool_failure' else 'failed'
    return verdict, '' if verdict in LONG or not reasons else reasons[0]


def verify(options, ptx, launch):
    """One verdict, and why."""
    if time.monotonic() > options.end:
        return 'not tried', 'no time was left'
    description, input_file = describe(ptx.read_text(), launch), ptx.with_suffix('.json')
    verdict, why = ask(options, ptx, description, input_file)
    if verdict == 'unsupported' and 'control predicate' in why:
        description['assumptions'] = {'representative_branches': True, 'bounded_computation_loops': True}
        verdict, second = ask(options, ptx, description, input_file)
        if verdict == 'race_free':
            return ONE_WAY, ''
        why = f'{why}; one way: {second or verdict}' if verdict in UNDECIDED else 'one way'
    return verdict, why


def plant(text):
    """The kernel's text once for each of its barriers, without it, and where the barrier stands in the source."""
    files = dict(re.findall(r'^\s*\.file\s+(\d+)\s+"(?:[^"]*/)?([^"/]+)"', text, re.M))
    for match in BARRIER.finditer(text):
        place = re.findall(r'^\s*\.loc\s+(\d+)\s+(\d+)', text[:match.start()], re.M)[-1:]
        yield text[:match.start()] + text[match.end():], ''.join(f'{files.get(file, "?")}:{line}' for file, line in place)


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
        self.launches = []  # (NAME, launch)
        self.verdicts = []  # of each, (verdict, why)
        self.planted = self.found = 0
        self.unneeded = []  # where these barriers stand

    def add(self, name, launch):
        if (name, launch) not in self.launches:
            self.launches.append((name, launch))

    def choose(self):
        """Keeps the launches to look at, those that should be quickest first."""
        by_name = collections.defaultdict(list)
        for name, launch in self.launches:
            by_name[name].append(launch)
        models = [name for name in by_name if pixels(name)]
        smallest = {model(name): min(pixels(other) for other in models if model(other) == model(name)) for name in models}
        self.seen, self.launches = len(self.launches), []
        for name in sorted(models or by_name, key=lambda name: (pixels(name), name)):
            launches = sorted(by_name[name], key=threads)
            self.launches.append((name, launches[0]))
            if models and pixels(name) == smallest[model(name)] and threads(launches[-1]) > threads(launches[0]):
                self.launches.append((name, launches[-1]))
        if not models:
            self.launches = sorted(self.launches, key=lambda item: (item[0] == 'harness', threads(item[1])))[:1]
        self.launches.sort(key=lambda item: pixels(item[0]) * threads(item[1]))

    def proved(self):
        return [launch for (_, launch), (verdict, _) in zip(self.launches, self.verdicts) if verdict in ('race_free', ONE_WAY)]

    def check(self, options, text, folder):
        self.ptx = folder / f'{self.source}-{self.name}.ptx'
        self.ptx.write_text(one_kernel(text, self.name))
        begin, long = time.monotonic(), False
        for name, launch in self.launches:
            verdict = ('not tried', 'a smaller launch took too long') if long else verify(options, self.ptx, launch)
            self.verdicts.append(verdict)
            long = long or verdict[0] in LONG
        self.say(begin, ', '.join(f'{name} {verdict}' + (f' ({why})' if why else '') for (name, _), (verdict, why) in zip(self.launches, self.verdicts)))

    def plant(self, options):
        begin, wrong = time.monotonic(), self.ptx.with_suffix('.planted.ptx')
        for broken, place in itertools.islice(plant(self.ptx.read_text()), options.planted if self.proved() else 0):
            if time.monotonic() > options.end:
                break
            wrong.write_text(broken)
            self.planted += 1
            for launch in self.proved():
                verdict, _ = verify(options, wrong, launch)
                if verdict not in ('race_free', ONE_WAY):
                    break
            if verdict in ('race_free', ONE_WAY):
                self.unneeded.append(place)
            self.found += verdict not in UNDECIDED + ('race_free', ONE_WAY)
        if self.planted:
            self.say(begin, f'{self.planted} barriers taken out, {self.found} found missing, not needed: {self.unneeded}')

    def say(self, begin, text):
        print(f'{time.monotonic() - begin:4.0f} s  {self.source} {demangle(self.name)}: {text}', file=sys.stderr, flush=True)

    def declined(self):
        """Why, and at which launches."""
        reasons = collections.defaultdict(list)
        for (name, _), (verdict, why) in zip(self.launches, self.verdicts):
            if verdict not in ('race_free', ONE_WAY):
                reasons[f'{verdict}: {why}' if why else verdict].append(name)
        return '; '.join(f'{", ".join(dict.fromkeys(names))}: {why}' for why, names in reasons.items())


def threads(launch):
    return math.prod(launch['grid']) * math.prod(launch['block'])


def model(name):
    return name.split('-')[0]


def pixels(name):
    return int(name.split('-')[1]) if '-' in name else 0


def read_launches(files):
    kernels = {}
    for file in map(pathlib.Path, files):
        for line in file.read_text().splitlines():
            launch = json.loads(line)
            # g++ marks functions of one file with an L that nvcc leaves out.
            launch['kernel'] = re.sub('^_ZL', '_Z', launch['kernel'])
            key = (launch['source'], launch['kernel'])
            kernels.setdefault(key, Kernel(launch['kernel'], launch['source'])).add(file.name.split('.')[0], launch)
    for kernel in kernels.values():
        kernel.choose()
    return kernels


def names_of(kernel, verdict):
    return ', '.join(dict.fromkeys(name for (name, _), (each, _) in zip(kernel.launches, kernel.verdicts) if each == verdict))


def table(kernels, missing, versions, options):
    free = [k for k in kernels if any(verdict == 'race_free' for verdict, _ in k.verdicts)]
    one_way = [k for k in kernels if k not in free and k.proved()]
    all_of_it = [k for k in free if len(k.proved()) == len(k.launches)]
    planted, found, unneeded = sum(k.planted for k in kernels), sum(k.found for k in kernels), sum(len(k.unneeded) for k in kernels)
    lines = [f'{len(free)} of {len(kernels) + len(missing)} kernels were proved race-free at one launch or more, {len(all_of_it)} of them at every launch looked at; '
             f'{len(one_way)} where each branch that depends on data goes one way; {len(kernels) - len(free) - len(one_way)} were declined. '
             f'Of {planted} barriers taken out {found} were found missing, {unneeded} are not needed at the launches looked at, and '
             f'{planted - found - unneeded} were not decided.', '',
             f'Made by `make cuda-proof` with {versions}, on PTX for {ARCH}: at most {options.timeout} seconds a verdict and {options.minutes} minutes for all, '
             f'{options.jobs} at a time. A launch is named by a model (Ti: ViT-Ti/16, B: ViT-B/16, odd: a ViT of width 100 with every option) and the '
             'pixels of its pictures; batches of one, in float32 and bfloat16. Kernels that these do not launch are looked at in one launch: heads of other widths and the like (rest), or a test of single operations (harness).', '',
             '| file | kernel | race-free at | race-free one way at | declined | barriers taken out, found, not needed |',
             '|---|---|---|---|---|---|']
    for kernel in sorted(kernels, key=lambda k: (k.source, demangle(k.name))):
        places = f' ({", ".join(sorted(set(kernel.unneeded)))})' if kernel.unneeded else ''
        planted = f'{kernel.planted}, {kernel.found}, {len(kernel.unneeded)}{places}' if kernel.planted else '-'
        lines.append(f'| {kernel.source} | `{demangle(kernel.name)}` | {names_of(kernel, "race_free") or "-"} | {names_of(kernel, ONE_WAY) or "-"} | '
                     f'{kernel.declined() or "-"} | {planted} |')
    if missing:
        lines += ['', 'Not launched, and so not looked at: ' + ', '.join(f'`{m}`' for m in sorted(missing)) + '.']
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
    parser.add_argument('--timeout', type=int, default=40)
    parser.add_argument('--minutes', type=int, default=24)
    parser.add_argument('--planted', type=int, default=6)
    parser.add_argument('--readme', type=pathlib.Path)
    options = parser.parse_args()
    kernels = read_launches(options.launches)
    options.end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts = {source.name: compile_ptx(source, folder).read_text() for source in sorted(BACKEND.glob('*.cu'))}
        every = {(source, entry) for source, text in texts.items() for entry in entries(text)}
        unknown = set(kernels) - every
        if unknown:
            sys.exit(f'launched, but not in the PTX: {unknown}')
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            # Attention last: it takes longest, and everything else should be decided where time
            # runs out.
            for last in (False, True):
                order = sorted(key for key in kernels if ('attention' in key[0]) == last)
                list(pool.map(lambda key: kernels[key].check(options, texts[key[0]], folder), order))
                list(pool.map(lambda key: kernels[key].plant(options), order))
    missing = {demangle(entry) for source, entry in every - set(kernels)}
    compiler = subprocess.run(['nvcc', '--version'], capture_output=True, text=True, check=True).stdout
    release = re.search(r'release (\S+), (\S+)', compiler)
    package = subprocess.run([str(pathlib.Path(options.verifier).with_name('pip')), 'show', 'sentryward'], capture_output=True, text=True)
    version = re.search(r'^Version: (\S+)', package.stdout, re.M)
    text = table(list(kernels.values()), missing, f'SentryWard {version.group(1) if version else "?"} and nvcc {release.group(2)}', options)
    print(text)
    if options.readme:
        write_readme(options.readme, text)
    bad = [k for k in kernels.values() for verdict, _ in k.verdicts if verdict not in UNDECIDED + ('race_free', ONE_WAY)]
    for kernel in bad:
        print(f'{kernel.source}: {demangle(kernel.name)}: {kernel.verdicts}', file=sys.stderr)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
