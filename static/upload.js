// Chooses files by drag and drop, mouse or keyboard, and sends them with a progress bar and a stop
// button.
import { Problem, upload } from './api.js';
import { h, fill, announce, problemBox, uniqueId } from './dom.js';
import { bytes, duration } from './format.js';

/**
 * A drop zone that is also a file input's label, so that keyboard and screen reader get the native
 * control. onFiles receives an array of File. `id` names the input.
 */
export function dropZone({ id = uniqueId('file'), title, hint, accept, multiple = false, onFiles }) {
  const message = h('span.drop-error', { role: 'alert' });
  const input = h('input.visually-hidden', { type: 'file', id, accept, multiple });
  const zone = h('label.drop', { for: id }, input, h('span.drop-title', {}, title), h('span.drop-hint', {}, hint), message);
  const take = (files) => {
    message.textContent = '';
    if (files.length) onFiles(multiple ? files : files.slice(0, 1));
  };
  input.addEventListener('change', () => {
    take([...input.files]);
    input.value = '';
  });
  const over = (on) => zone.classList.toggle('over', on);
  zone.addEventListener('dragenter', (e) => { e.preventDefault(); over(true); });
  zone.addEventListener('dragover', (e) => { e.preventDefault(); e.dataTransfer.dropEffect = 'copy'; over(true); });
  zone.addEventListener('dragleave', (e) => { if (!zone.contains(e.relatedTarget)) over(false); });
  zone.addEventListener('drop', (e) => {
    e.preventDefault();
    over(false);
    const folder = [...e.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
    if (folder) message.textContent = 'That is a folder. Pack it as a zip or tar archive and drop the archive.';
    else take([...e.dataTransfer.files]);
  });
  return zone;
}

function progressText(loaded, total, seconds) {
  const done = `${bytes(loaded)} of ${bytes(total)}`;
  if (loaded >= total) return `${done} sent. The service is checking what it received…`;
  if (seconds < 0.5) return done;
  const rate = loaded / seconds;
  return `${done}, ${bytes(rate)}/s, ${duration((total - loaded) / rate)} left`;
}

/**
 * Sends `body` and shows how far it is in `place`. Resolves to the created resource, or to null
 * when the upload failed (the cause is shown in `place`) or was stopped.
 */
export async function sendWithProgress({ place, path, body, type, name, signal }) {
  const stopper = new AbortController();
  signal.addEventListener('abort', () => stopper.abort());
  const labelId = uniqueId('upload');
  const bar = h('progress', { max: 1, value: 0, 'aria-labelledby': labelId });
  const text = h('span.muted.small', {}, 'Starting…');
  const stop = h('button.button', { type: 'button', on: { click: () => stopper.abort() } }, 'Stop');
  fill(place, h('div.sending', {}, h('div.row', {}, h('strong.ellipsis', { id: labelId }, `Uploading ${name}`), stop), bar, text));
  announce(`Uploading ${name}`);
  const started = performance.now();
  try {
    const created = await upload(path, body, {
      type,
      signal: stopper.signal,
      onProgress(loaded, total) {
        if (loaded >= total) bar.removeAttribute('value');
        else bar.value = loaded / total;
        text.textContent = progressText(loaded, total, (performance.now() - started) / 1000);
      },
    });
    fill(place);
    return created;
  } catch (error) {
    if (error instanceof Problem) fill(place, problemBox(error));
    else if (error.name === 'AbortError') fill(place, h('p.notice', { role: 'status' }, 'The upload was stopped; nothing was kept.'));
    else throw error;
    place.scrollIntoView({ block: 'nearest' });
    return null;
  }
}

/** A labelled field with a hint, for small forms without a schema: {node, input}. `choices`
 * ([[value, text]]) make it a menu. */
export function textField({ id, label, hint, choices, ...attributes }) {
  const described = { id, 'aria-describedby': hint ? `${id}-hint` : null };
  const input = choices ? h('select', described, choices.map(([value, text]) => h('option', { value }, text)))
    : h('input', { type: 'text', ...described, autocomplete: 'off', spellcheck: 'false', ...attributes });
  const node = h('div.field', {}, h('label', { for: id }, label), input,
    hint ? h('span.hint', { id: `${id}-hint` }, hint) : null);
  return { node, input };
}
