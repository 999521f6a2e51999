"""Hostile forms: parts without number, without end, without sense."""
from make_inputs import JPEG, THREE, picture, zip_bytes
from mutate import mutation
from pictures import LIMIT, flat, ihdr, png_of
from blocks import zlib_zeros
from shapes import Input, shape
from targets import FEW, MODEL, form, form_of

CLASSIFY = f'/v1/models/{MODEL}/classify'
PATHS = (CLASSIFY, '/v1/datasets', '/v1/models')


def raw(path, body, boundary='xyz', **more):
    return Input('POST', path, f'multipart/form-data; boundary={boundary}', body, **more)


def part(head, data=b''):
    return b'--xyz\r\n' + head + b'\r\n\r\n' + data + b'\r\n'


NAMED = b'Content-Disposition: form-data; name="a"; filename="a.png"'


@shape('forms', worst=True)
def parts_100_000(rng):
    return raw(CLASSIFY, part(NAMED) * 100_000 + b'--xyz--\r\n', expect=(413,))


@shape('forms', worst=True)
def parts_of_models_100_000(rng):
    return raw('/v1/models', part(NAMED) * 100_000 + b'--xyz--\r\n', expect=(400, 413, 422))


@shape('forms', worst=True)
def hundred_squares(rng):
    """100 pictures of 100,000,000 pixels in 1.2 MB."""
    return form(CLASSIFY, [('a', f'{i}.png', flat(10_000, 10_000)) for i in range(100)], expect=(200, 413, 422, 503))


@shape('forms', worst=True)
def thousand_wide(rng):
    return form(CLASSIFY, [('a', f'{i}.png', png_of(ihdr(LIMIT - 1, 1), zlib_zeros(1))) for i in range(1000)], expect=(200, 413, 422))


@shape('forms', worst=True)
def part_without_end(rng):
    return raw(CLASSIFY, part(NAMED, JPEG + bytes(20 << 20)), expect=(400,))


@shape('forms', worst=True)
def nearly_boundaries(rng):
    """A body that looks like the boundary at every byte, and never is."""
    return raw(CLASSIFY, part(NAMED, b'\r\n--xy' * 2_000_000), expect=(400, 413, 415))


@shape('forms', worst=True)
def headers_without_end(rng):
    return raw(CLASSIFY, b'--xyz\r\n' + b'A: b\r\n' * 500_000, expect=(400, 413))


@shape('forms', worst=True)
def header_of_megabytes(rng):
    return raw(CLASSIFY, part(b'Content-Disposition: form-data; name="' + b'a' * (4 << 20) + b'"'), expect=(400, 413))


@shape('forms')
def headers(rng):
    """Around the 8 KB that headers may take, and what a name may be."""
    name = rng.choice((b'a' * rng.choice((200, 8000, 8100, 8192, 8300)), b'', b'\0', b'\xff\xfe', b'\\"' * 100, b'../../../etc/passwd', b'a\r\nb'))
    head = rng.choice((b'Content-Disposition: form-data; name="%s"; filename="a"', b'Content-Disposition: form-data; name="a"; filename="%s"',
                       b'Content-Disposition: form-data; name=%s', b'%s', b'X: %s\r\n' + NAMED, NAMED + b'\r\nContent-Type: %s',
                       b"Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''%s", b'Content-Transfer-Encoding: base64\r\n' + NAMED + b'; x="%s"'))
    return raw(rng.choice(PATHS), part(head.replace(b'%s', name), JPEG) + b'--xyz--\r\n')


@shape('forms')
def boundaries(rng):
    """What the header says is the boundary, and what the body does with it."""
    said = rng.choice(('', '""', 'a' * 70, 'a' * 71, 'a' * 5000, '"a b"', '"xyz', 'xyz; boundary=abc', '-', '--', '\t', "'()+_,-./:=?"))
    used = rng.choice((said.strip('"'), 'xyz', said[:-1])).encode()
    return raw(rng.choice(PATHS), form_of([('a', 'a.jpg', JPEG)] * rng.choice((1, 3)), used), said)


@shape('forms')
def ends(rng):
    """Forms that end where they should not."""
    body = form_of([('checkpoint', 'm', b'x' * 1000), ('archive', 'a.zip', zip_bytes(FEW))] if rng.random() < 0.3 else
                   [('archive', 'a.zip', zip_bytes(FEW)), ('b', 'b', b'x')])
    tail = rng.choice((b'', b'--xyz--', b'\r\n' * 100_000, b'--xyz\r\n' * 10_000, rng.randbytes(1 << 20)))
    return raw(rng.choice(PATHS), rng.choice((body[:rng.randrange(len(body))], body)) + tail)


@shape('forms')
def mixed_files(rng):
    """Good and bad pictures by the hundred, some of them large."""
    files = (JPEG, picture(0, 1), b'', b'text', flat(3000, 3000), JPEG[:100], png_of(ihdr(LIMIT, 1), zlib_zeros(1)), flat(10_000, 10_000))
    weights = (5, 5, 1, 1, 1, 2, 2, 0.2)
    return form(CLASSIFY, [('a', f'{i}', rng.choices(files, weights)[0]) for i in range(rng.choice((1, 30, 200, 1001)))])


@shape('forms')
def mutated(rng):
    parts = rng.choice(([('archive', 'a.zip', zip_bytes(THREE))], [('a', 'a.jpg', JPEG), ('b', 'b.png', picture(0, 0))]))
    return raw(rng.choice(PATHS), mutation(rng, form_of(parts)))
