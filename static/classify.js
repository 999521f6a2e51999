// Classifies a dropped photograph: shows it beside bars of the most likely classes.
import { enc, post, Problem } from './api.js';
import { h, fill, announce, problemBox, section } from './dom.js';
import { bytes, millis, percent } from './format.js';
import { dropZone } from './upload.js';

const SHOWN = 12;
const PREVIEW = 320;
const TYPES = ['image/jpeg', 'image/png', 'image/webp'];

/** Draws the file on a canvas. Unlike an object URL, a canvas needs no exception in the content
 * security policy. */
async function preview(file) {
  const canvas = h('canvas.preview', { role: 'img', 'aria-label': `The photograph ${file.name}` });
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, PREVIEW / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
  } catch {
    return h('div.preview.none', {}, 'No preview');
  }
  return canvas;
}

function predictionBars(predictions) {
  return h('ol.predictions', {}, predictions.map((p) => {
    const bar = h('span.fill');
    bar.style.setProperty('width', `${100 * p.probability}%`);
    return h('li', {}, h('span.clamp.label', { title: p.label }, p.label ?? `class ${p.index}`), h('span.num', {}, percent(p.probability)),
      h('span.track', { 'aria-hidden': 'true' }, bar));
  }));
}

async function classifyOne(model, file, signal) {
  const path = `/v1/models/${enc(model)}/classify?top=5`;
  const type = TYPES.includes(file.type) ? file.type : 'application/octet-stream';
  const answer = await post(path, { body: file, headers: { 'Content-Type': type }, signal });
  const first = answer.predictions[0];
  if (first) announce(`${file.name}: ${first.label}, ${percent(first.probability)}`);
  const t = answer.timing;
  return [predictionBars(answer.predictions),
    t ? h('p.muted.small', {}, `decoded in ${millis(t.decode_seconds)}, waited ${millis(t.queue_seconds)}, computed in ${millis(t.compute_seconds)}`) : null];
}

/** The panel for one model (an id or a name). */
export function classifyPanel(model, signal) {
  const results = h('div.results');

  async function take(files) {
    for (const file of files) {
      const outcome = h('div.stack', {}, h('p.muted', {}, 'Classifying…'));
      const picture = h('div.picture', {}, await preview(file));
      results.prepend(h('article.result', { 'aria-label': file.name }, picture,
        h('div.stack', {}, h('h3.ellipsis', { title: file.name }, file.name, h('span.muted', {}, ` ${bytes(file.size)}`)), outcome)));
      while (results.children.length > SHOWN) results.lastElementChild.remove();
      try {
        fill(outcome, await classifyOne(model, file, signal));
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        fill(outcome, problemBox(error));
      }
    }
  }

  return section('Classify a photograph', { id: 'classify' },
    dropZone({ id: 'classify-file', title: 'Drop a photograph here, or choose one', hint: 'JPEG, PNG or WebP; several at once are fine', accept: TYPES.join(','), multiple: true, onFiles: take }),
    results);
}
