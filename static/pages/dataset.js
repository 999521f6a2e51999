// One data set: its classes with a bar of counts, its photographs by class and split, and the
// rejected files.
import { button, destroy } from '../actions.js';
import { enc, get, query, Problem } from '../api.js';
import { h, fill, facts, problemBox, rejectedTable, section, uniqueId } from '../dom.js';
import { bytes, count, plural, when } from '../format.js';

const SPLITS = ['train', 'val', 'test'];
const THUMBS = 48;
const CLASSES = 12;
const SAMPLES = 8;

function classBars(set, choose) {
  const most = Math.max(1, ...set.classes.map((c) => c.train + c.val + c.test));
  const present = SPLITS.filter((split) => set.images[split] > 0);
  const rows = set.classes.map((c) => {
    const bar = h('div.bar', { 'aria-hidden': 'true' }, present.map((split) => {
      const part = h(`span.part.${split}`);
      part.style.setProperty('width', `${(100 * c[split]) / most}%`);
      return part;
    }));
    const counts = present.map((split) => h('td.num', {}, count(c[split])));
    return h('tr', {}, h('th', { scope: 'row' }, h('button.link.clamp', { type: 'button', title: c.name.length > 40 ? c.name : null, on: { click: () => choose(c.name) } }, c.name)),
      h('td.bar-cell', {}, bar), counts);
  });
  return h('div.scroll.tall', { tabindex: '0', role: 'region', 'aria-label': 'Classes' },
    h('table.table.compact.classes', {},
      h('caption.visually-hidden', {}, 'Images per class and split; a class name shows its photographs below'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Class'), h('th', { scope: 'col', 'aria-hidden': 'true' }),
        present.map((split) => h('th.num', { scope: 'col' }, h(`span.key.${split}`), split)))),
      h('tbody', {}, rows)));
}

function thumbnail(set, image) {
  const base = `/v1/datasets/${enc(set.id)}/images/${enc(image.index)}`;
  return h('figure.thumb', {},
    h('a', { href: base, target: '_blank', rel: 'noopener', title: `${image.path} · ${image.width} × ${image.height} · ${bytes(image.bytes)}` },
      h('img', { src: query(base, { size: 192 }), alt: `${image.class}, ${image.split}`, loading: 'lazy', width: '96', height: '96' })));
}

/** Photographs: a few of every class, or all of one class, by split, a page at a time. */
function gallery(set, signal) {
  const classId = uniqueId('class');
  const splitId = uniqueId('split');
  const classes = h('select', { id: classId }, h('option', { value: '' }, 'All classes'),
    set.classes.map((c, i) => h('option', { value: String(i) }, c.name)));
  const splits = h('select', { id: splitId }, h('option', { value: '' }, 'All splits'),
    SPLITS.filter((s) => set.images[s] > 0).map((s) => h('option', { value: s }, s)));
  const place = h('div.gallery');
  const more = h('button.button', { type: 'button', hidden: true, on: { click: () => load(false) } }, 'Show more');
  const trouble = h('div');
  let next = null;
  let turn = 0;

  const ask = (name, limit, after) => get(query(`/v1/datasets/${enc(set.id)}/images`, { class: name, split: splits.value, limit, after }), { signal });

  /** The next photographs of one class: [nodes, where the page after them starts]. */
  async function ofOneClass(name, after) {
    const page = await ask(name, THUMBS, after);
    const nodes = page.items.map((image) => thumbnail(set, image));
    return [nodes.length || after ? nodes : [h('p.muted', {}, 'No photographs here.')], page.next];
  }

  /** A row of samples for each of the next classes. */
  async function ofEveryClass(start) {
    const some = set.classes.slice(start, start + CLASSES);
    const pages = await Promise.all(some.map((c) => ask(c.name, SAMPLES)));
    const rows = some.map((c, i) => h('div.class-row', {}, h('button.link.clamp', { type: 'button', title: c.name, on: { click: () => choose(c.name) } }, c.name),
      h('div.samples', {}, pages[i].items.map((image) => thumbnail(set, image)))));
    return [rows, start + CLASSES < set.classes.length ? start + CLASSES : null];
  }

  async function load(fresh) {
    turn += 1;
    const mine = turn;
    const one = classes.value !== '';
    try {
      const [nodes, after] = one ? await ofOneClass(set.classes[Number(classes.value)].name, fresh ? null : next) : await ofEveryClass(fresh ? 0 : next);
      if (mine !== turn) return;
      if (fresh) fill(place);
      place.className = one ? 'thumbs' : 'gallery';
      place.append(...nodes);
      next = after;
      more.hidden = next === null;
      fill(trouble);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      fill(trouble, problemBox(error, () => load(fresh)));
    }
  }

  function choose(name) {
    classes.value = String(set.classes.findIndex((c) => c.name === name));
    load(true);
    element.scrollIntoView({ block: 'start' });
    classes.focus({ preventScroll: true });
  }

  classes.addEventListener('change', () => load(true));
  splits.addEventListener('change', () => load(true));
  load(true);
  const element = section('Photographs', {},
    h('div.fields', {}, h('div.field', {}, h('label', { for: classId }, 'Class'), classes), h('div.field', {}, h('label', { for: splitId }, 'Split'), splits)),
    place, trouble, h('div', {}, more));
  return { element, choose };
}

function refused(set) {
  if (!set.rejected_count && !set.skipped_count) return null;
  return section('Not used', {},
    h('p', {}, `${plural(set.rejected_count, 'file was', 'files were')} rejected, ${plural(set.skipped_count, 'other file was', 'other files were')} skipped `
      + '(hidden files and files that are not images).'),
    set.rejected?.length ? rejectedTable(set.rejected, set.rejected_count) : null);
}

export async function datasetPage({ id, signal, setTitle }) {
  const set = await get(`/v1/datasets/${enc(id)}`, { signal });
  const name = set.name || set.id;
  setTitle(name);
  const trouble = h('div');
  const photographs = gallery(set, signal);
  return [
    h('div.head', {},
      h('div', {}, h('p.crumb', {}, h('a', { href: '#/datasets' }, 'Data sets')), h('h1', { tabindex: '-1' }, name),
        h('p.sub', {}, `${plural(set.classes.length, 'class', 'classes')}, ${plural(set.images.train, 'training image')}, ${count(set.images.val)} for validation`
          + (set.images.test ? `, ${count(set.images.test)} for tests` : ''))),
      h('div.row', {}, h('a.button.primary', { href: `#/runs/new?dataset=${enc(set.id)}` }, 'Fine-tune on it'),
        button('Delete', () => destroy({
          what: 'data set', name, text: `${name} with its ${plural(set.images.train + set.images.val + set.images.test, 'image')} is removed from the disk.`,
          path: `/v1/datasets/${enc(set.id)}`, back: '#/datasets', place: trouble,
        }), '.danger'))),
    trouble,
    section('Classes', {}, classBars(set, photographs.choose)),
    photographs.element,
    refused(set),
    section('About', {}, facts([
      ['Id', h('code', {}, set.id)], ['Added', when(set.created_at)], ['Size on disk', bytes(set.bytes)],
      ['Mean picture', set.mean_width ? `${Math.round(set.mean_width)} × ${Math.round(set.mean_height)} pixels` : null],
      ['SHA-256', h('code', {}, set.sha256)]])),
  ].filter(Boolean);
}
