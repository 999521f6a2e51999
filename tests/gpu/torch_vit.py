"""torch_vit.py BATCH SECONDS: PyTorch's images a second, in the training steps of `gonio bench`.

timm's ViT-B/16 and ViT-S/16 at 224 pixels with 100 classes, AdamW and a clipped norm of the gradient;
all tensors, attention only, the last third of the blocks. Products are in bf16 by autocast, the
optimiser is PyTorch's fused one, pictures of noise lie on the GPU. Eager comes first, then
torch.compile; a case that would not end within SECONDS is not begun. A line for each case, as it is
measured; exit status 1 where one failed. Without a GPU: one step of the first case, which shows that
the program works.
"""
import sys
import time

import timm
import torch

NETWORKS = {'ViT-B/16': 'vit_base_patch16_224', 'ViT-S/16': 'vit_small_patch16_224'}
KINDS = ('full', 'attention', 'last_third')
STEPS, REPEATS = 20, 3
COMPILING = 35  # seconds that a compiled case takes; seen: 33 with an H200 and 16 cores

cuda = torch.cuda.is_available()
device = 'cuda' if cuda else 'cpu'


def tuned(kind, tensor):
    """Whether strategy `kind` changes the tensor of this name; the head is always tuned."""
    block = int(tensor.split('.')[1]) if tensor.startswith('blocks.') else -1
    chosen = {'full': True, 'attention': '.attn.' in tensor or '.norm1.' in tensor, 'last_third': block >= 8}
    return tensor.startswith('head.') or chosen[kind]


def training_step(network, kind, compiled, batch):
    """A function that does one step."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = timm.create_model(NETWORKS[network], num_classes=100).to(device).train()
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(tuned(kind, name))
    tensors = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimiser = torch.optim.AdamW(tensors, 1e-6, weight_decay=0.05, fused=cuda)
    images = torch.randn(batch, 3, 224, 224, device=device)
    labels = torch.randint(100, (batch,), device=device)
    forward = torch.compile(model) if compiled else model

    def step():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors, 1.0)
        optimiser.step()

    return step


def seconds_of(step, times):
    if cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        step()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(network, kind, compiled, batch):
    """The median of REPEATS times STEPS steps, after five that are not counted (and compile)."""
    step = training_step(network, kind, compiled, batch)
    first = seconds_of(step, 5 if cuda else 1)
    steps = STEPS if cuda else 1
    each = sorted(seconds_of(step, steps) / steps for _ in range(REPEATS))[REPEATS // 2]
    print(f'{network} {kind:10} {"compiled" if compiled else "eager":8} {each * 1e3:9.2f} ms '
          f'{batch / each:9.1f} images/s  (first steps {first:.1f} s)', flush=True)


def main():
    batch, limit, began = int(sys.argv[1]), float(sys.argv[2]), time.monotonic()
    name = torch.cuda.get_device_name() if cuda else 'no GPU'
    print(f'torch {torch.__version__}, timm {timm.__version__}, {name}', flush=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    cases = [(network, kind, compiled) for compiled in (False, True) for network in NETWORKS for kind in KINDS]
    failed = False
    for network, kind, compiled in cases if cuda else cases[:1]:
        if time.monotonic() - began + (COMPILING if compiled else 0) > limit:
            print(f'no time: {network} {kind} {"compiled" if compiled else "eager"}', flush=True)
            continue
        try:
            measure(network, kind, compiled, batch)
        except RuntimeError as error:  # no memory, or what the compiler cannot do
            failed = True
            print(f'FAILED: {network} {kind} {"compiled" if compiled else "eager"}: {str(error)[:200]}', flush=True)
    sys.exit(failed)


main()
