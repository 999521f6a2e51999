#!/usr/bin/env python3
"""Reads the machine code of the CUDA backend, as nvcc left it for each architecture, by cuobjdump.

    code.py resources TREE      no kernel spills, and each fits as often on a multiprocessor as its __launch_bounds__ say
    code.py instructions TREE   the matrix instructions, 16-byte accesses and roundings that the kernels are written for are there

TREE is what tests/cuda/compile built. Exit status 77: nothing is built there, or there is no cuobjdump here (it comes with the CUDA
toolkit, else tests/cuda/compile gets it from PyPI).
"""
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2]

# Of a multiprocessor (CUDA C++ Programming Guide, "Technical Specifications per Compute
# Capability"): threads, blocks, bytes of shared memory. 65536 registers everywhere, given to a warp
# in lots of 256; from sm_80 on a block takes 1 KiB of shared memory for itself.
ARCHS = {75: (1024, 16, 64), 80: (2048, 32, 164), 86: (1536, 16, 100), 89: (1536, 24, 100), 90: (2048, 32, 228), 100: (2048, 32, 228),
         120: (1536, 24, 100)}
REGISTERS, LOT = 65536, 256


def find_tools():
    """cuobjdump's path; the folder of its helper nvdisasm joins PATH."""
    fetched = sorted((SOURCE / 'build' / 'cuda-tools').glob('lib/python*/site-packages/nvidia/cu*/bin'))
    path = os.pathsep.join([os.environ['PATH'], '/usr/local/cuda/bin', *map(str, fetched)])
    os.environ['PATH'] = path
    if not shutil.which('cuobjdump') or not shutil.which('nvdisasm'):
        print('no cuobjdump and nvdisasm here, nor from PyPI (run tests/cuda/tools): the machine code is not looked at')
        sys.exit(77)
    return 'cuobjdump'


def dump(tool, *arguments):
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=True).stdout


def demangle(names):
    plain = subprocess.run(['c++filt'], input='\n'.join(names), capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: re.sub(r'^void ', '', text) for name, text in zip(names, plain)}


def short(text):
    """A demangled kernel without its arguments."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == '<') - (letter == '>')
        if letter == '(' and depth == 0:
            return text[:i]
    return text


# ---------------------------------------------------------------- resources

def launch_bounds(source):
    """Of each kernel: threads of a block, and blocks on a multiprocessor, that its __launch_bounds__ name; None: not named."""
    ptx = subprocess.run(['nvcc', '-std=c++20', '-arch=sm_90', '-ptx', '-I', SOURCE / 'engine', '-DGN_VERSION="test"', source, '-o', '-'],
                         capture_output=True, text=True, check=True).stdout
    bounds = {}
    for match in re.finditer(r'\.entry (\w+)\([^)]*\)([^{]*)\{', ptx):
        threads = re.search(r'\.maxntid (\d+)', match.group(2))
        blocks = re.search(r'\.minnctapersm (\d+)', match.group(2))
        bounds[match.group(1)] = (int(threads.group(1)) if threads else None, int(blocks.group(1)) if blocks else None)
    return bounds


def blocks_that_fit(arch, threads, registers, shared):
    all_threads, all_blocks, kilobytes = ARCHS[arch]
    warps = (threads + 31) // 32
    lots = (registers * 32 + LOT - 1) // LOT * LOT
    reserved = 1024 if arch >= 80 else 0
    return min(all_blocks, all_threads // (warps * 32), REGISTERS // (lots * warps), kilobytes * 1024 // max(shared + reserved, 1))


def usage(tool, file):
    """(arch, kernel) -> what cuobjdump says that it takes."""
    found, arch, name = {}, None, None
    for line in dump(tool, '--dump-resource-usage', file).splitlines():
        if match := re.match(r'arch = sm_(\d+)', line):
            arch = int(match.group(1))
        elif match := re.match(r'\s*Function (\w+):', line):
            name = match.group(1)
        elif name and 'REG:' in line:
            found[arch, name] = {key: int(value) for key, value in re.findall(r'(\w+)(?:\[\d\])?:(\d+)', line)}
            name = None
    return found


def check_resources(tool, files):
    wrong, seen, claims = [], 0, 0
    for file in files:
        source = SOURCE / 'engine' / 'backend' / 'cuda' / pathlib.Path(file).name[:-len('.o')]
        kernels = usage(tool, file)
        bounds = launch_bounds(source) if kernels else {}
        names = demangle(sorted({name for _, name in kernels}))
        for (arch, name), takes in sorted(kernels.items()):
            seen += 1
            what = f'{source.name}: {short(names[name])} on sm_{arch}'
            if takes['STACK'] or takes['LOCAL']:
                wrong.append(f'{what} spills: {takes["STACK"]} bytes of stack, {takes["LOCAL"]} local')
            threads, blocks = bounds.get(name, (None, None))
            if not blocks:
                continue
            claims += 1
            fit = blocks_that_fit(arch, threads, takes['REG'], takes['SHARED'])
            possible = min(blocks, ARCHS[arch][0] // threads)
            if fit < possible:
                wrong.append(f'{what}: {fit} blocks of {threads} threads fit, {blocks} are claimed '
                             f'({takes["REG"]} registers, {takes["SHARED"]} bytes of shared memory)')
    print(f'{seen} kernels, {claims} claims of occupancy')
    return wrong, seen


# ---------------------------------------------------------------- instructions

LOAD, STORE = r'\bLDG?\.E\.(?:\w+\.)*128\b', r'\bSTG?\.E\.(?:\w+\.)*128\b'
# What a kernel, by its name and template arguments, must hold: (kernel, lowest arch, instructions).
CLAIMS = [
    # n elements an access, n of them 16 bytes; place and patches read float32 images and write 8
    # bytes of bfloat16.
    (r'(?!place_kernel|patches_kernel)\w+<(?:__nv_bfloat16|float)(?:, (?:__nv_bfloat16|float))*, 8(?:, \d+)?>', 75, [LOAD, STORE]),
    (r'(?!place_kernel|patches_kernel)\w+<float(?:, float)*, 4(?:, \d+)?>', 75, [LOAD, STORE]),
    (r'(?:place_kernel|patches_kernel)<__nv_bfloat16, 4>', 75, [LOAD]),
    (r'(?:place_kernel|patches_kernel)<float, 4>', 75, [LOAD, STORE]),
    (r'cast_kernel<8>', 75, [LOAD, STORE]),
    (r'pair_kernel<true>', 75, [LOAD]),
    (r'(?:add_kernel<4, (?:true|false)>|mean_kernel<4>)', 75, [LOAD, STORE]),
    # A soup's products are rounded before they are added.
    (r'add_kernel<[14], false>', 75, [r'\bDMUL\b', r'\bDADD\b']),
    # Attention: products of bfloat16 by the matrix unit, operands by ldmatrix, tiles copied 16
    # bytes at a time.
    (r'\w+_mma<\d+>', 80, [r'\bHMMA\.16816\.F32\.BF16\b', r'\bLDSM\.16\.M(?:T)?88\.4\b', r'\bLDGSTS\.E\.BYPASS\.(?:\w+\.)*128\b']),
]


def code(tool, file):
    """(arch, kernel) -> the instructions that it has."""
    line = re.compile(r'^\s*(?:/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)|arch = sm_(\d+)|Function : (\w+))', re.M)
    found, arch, known = {}, None, None
    for instruction, other_arch, name in line.findall(dump(tool, '-sass', file)):
        if instruction:
            known.add(instruction)
        elif name:
            known = found.setdefault((arch, name), set())
        else:
            arch = int(other_arch)
    return found


def check_instructions(tool, files):
    wrong, used, seen = [], collections.Counter(), 0
    for file in files:
        kernels = code(tool, file)
        names = demangle(sorted({name for _, name in kernels}))
        for (arch, name), instructions in sorted(kernels.items()):
            seen += 1
            for pattern, lowest, wanted in CLAIMS:
                if arch < lowest or not re.fullmatch(pattern, short(names[name])):
                    continue
                used[pattern] += 1
                for instruction in wanted:
                    if not any(re.search(instruction, each) for each in instructions):
                        wrong.append(f'{pathlib.Path(file).name[:-2]}: {short(names[name])} on sm_{arch} has no {instruction}')
    wrong += [f'no kernel is called {pattern}' for pattern, _, _ in CLAIMS if not used[pattern]]
    print(f'{seen} kernels, {sum(used.values())} of them with claims')
    return wrong, seen


def main():
    check = {'resources': check_resources, 'instructions': check_instructions}[sys.argv[1]]
    objects = sorted(map(str, pathlib.Path(sys.argv[2]).glob('**/backend/cuda/**/*.cu.o')))
    if not objects:
        print('no CUDA backend is built there')
        return 77
    wrong, seen = check(find_tools(), objects)
    for each in wrong:
        print(each)
    if not seen:
        print('no kernel found')
    return 1 if wrong or not seen else 0


if __name__ == '__main__':
    sys.exit(main())
