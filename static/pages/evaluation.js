// One evaluation: its figures, the confusion matrix, the pictures of each cell (most confident
// mistakes first), accuracy by class, calibration.
import { attempt, button, destroy, follow } from '../actions.js';
import { enc, get, getOrNull, post, query } from '../api.js';
import { calibrationTable, confusionMatrix } from '../confusion.js';
import { h, fill, announce, problemBox, section, setText } from '../dom.js';
import { count, digits, percent, when } from '../format.js';
import { isActive, pill, share } from '../status.js';

const PICTURES = 48;

function figures(result) {
  const figure = (value, title) => h('div.figure', {}, h('span.big', {}, value), h('span.muted', {}, title));
  return section('Result', { class: 'result-card' }, h('div.figures', {}, figure(percent(result.accuracy), 'accuracy'), figure(percent(result.top5_accuracy), 'within the first five'),
    figure(digits(result.loss), 'loss'), figure(percent(result.ece), 'calibration error'), figure(count(result.images), 'images')));
}

function classTable(result) {
  const rows = result.per_class.map((c) => {
    const fillNode = h('span.fill.was');
    fillNode.style.setProperty('width', `${100 * (c.accuracy ?? 0)}%`);
    return h('tr', {}, h('th.clamp-1', { scope: 'row', title: c.class }, c.class), h('td.bar-cell', {}, h('span.track', { 'aria-hidden': 'true' }, fillNode)), h('td.num', {}, percent(c.accuracy)), h('td.num', {}, count(c.images)));
  });
  return h('div.scroll.tall', { tabindex: '0', role: 'region', 'aria-label': 'Accuracy by class' }, h('table.table.compact.classes', {}, h('caption.visually-hidden', {}, 'Accuracy by class'),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Class'), h('th', { scope: 'col', 'aria-hidden': 'true' }), h('th.num', { scope: 'col' }, 'Right'), h('th.num', { scope: 'col' }, 'Images'))), h('tbody', {}, rows)));
}

/** The pictures of the matrix: those of one cell, or all mistakes. */
function pictures(evaluation, labels, signal) {
  const title = h('p.muted', { role: 'status' });
  const place = h('div.thumbs');
  const trouble = h('div');
  const more = button('Show more', () => load(false));
  const path = `/v1/evaluations/${enc(evaluation.id)}/images`;
  let cell = {};
  let next = null;

  function thumb(image) {
    const base = `/v1/datasets/${enc(evaluation.dataset)}/images/${enc(image.index)}`;
    const text = image.label === image.predicted ? `${image.label}, ${percent(image.confidence)}` : `${image.label} taken for ${image.predicted}, ${percent(image.confidence)}`;
    return h('figure.thumb', {}, h('a', { href: base, target: '_blank', rel: 'noopener', title: `${image.path}: ${text}` },
      h('img', { src: query(base, { size: 192 }), alt: text, loading: 'lazy', width: '96', height: '96' })),
    h('figcaption.small', {}, h('span.clamp', {}, image.predicted), h('span.muted', {}, ` ${percent(image.confidence, 0)}`)));
  }

  const load = (fresh) => attempt(trouble, async () => {
    const asked = cell;
    const page = await get(query(path, { ...cell, limit: PICTURES, after: fresh ? null : next }), { signal });
    if (asked !== cell) return;
    const nodes = page.items.map(thumb);
    if (fresh) fill(place, nodes.length ? nodes : h('p.muted', {}, 'No pictures here.'));
    else place.append(...nodes);
    next = page.next;
    more.hidden = !next;
  });

  const element = section('Pictures', { id: 'cell-pictures' }, title, trouble, place, h('div', {}, more));
  return {
    element,
    show(label, predicted) {
      cell = label === undefined ? {} : { label: labels[label], predicted: labels[predicted] };
      setText(title, label === undefined ? 'The most confident mistakes first. Choose a cell of the matrix to see its pictures.' : `${labels[label]} taken for ${labels[predicted]}, most confident first.`);
      load(true);
      if (label !== undefined) element.scrollIntoView({ block: 'nearest' });
    },
  };
}

export async function evaluationPage({ id, signal, setTitle }) {
  const first = await get(`/v1/evaluations/${enc(id)}`, { signal });
  const [model, set] = await Promise.all([getOrNull(`/v1/models/${enc(first.model)}`, { signal }), getOrNull(`/v1/datasets/${enc(first.dataset)}`, { signal })]);
  const name = `${model?.name || 'Model'} on ${set?.name || 'a data set'}`;
  const path = `/v1/evaluations/${enc(first.id)}`;
  setTitle(name);
  const trouble = h('div');
  const state = h('span', { id: 'evaluation-status', role: 'status' });
  const actions = h('div.row');
  const bar = h('progress', { max: 1, 'aria-label': 'Progress' });
  const progress = h('section.card.progress-card', { 'aria-label': 'Progress' }, bar);
  const outcome = h('div.stack');
  let shown = null;

  function showResult(evaluation) {
    const result = evaluation.result;
    const labels = result.per_class.map((c) => c.class);
    const behind = set ? pictures(evaluation, labels, signal) : null;
    const matrix = confusionMatrix({ labels, matrix: result.confusion, choose: (r, c) => behind?.show(r, c), signal });
    fill(outcome, figures(result), section('Confusion', {}, matrix.element), behind?.element ?? h('p.notice', {}, 'The data set was deleted, and its pictures with it.'),
      h('div.halves', {}, section('Accuracy by class', {}, classTable(result)), section('Calibration', {}, calibrationTable(result.calibration, result.ece))));
    behind?.show();
  }

  function draw(evaluation) {
    bar.value = share(evaluation.progress);
    progress.hidden = !isActive(evaluation.status);
    if (shown === evaluation.status) return;
    if (shown) announce(`The evaluation is ${evaluation.status}`);
    shown = evaluation.status;
    fill(state, pill(evaluation.status));
    fill(actions, isActive(evaluation.status) ? button('Cancel', () => attempt(trouble, async () => { await post(`${path}/cancel`, { signal }); again(); }), '.danger')
      : button('Delete', () => destroy({ what: 'evaluation', name, text: 'Its figures are removed.', path, back: '#/evaluations', place: trouble }), '.danger'));
    if (evaluation.error) fill(outcome, problemBox({ title: `The evaluation failed: ${evaluation.error.type}`, detail: evaluation.error.detail }));
    if (evaluation.result) showResult(evaluation);
  }

  const again = follow(path, first, draw, signal);
  const linkTo = (thing, base) => (thing ? h('a', { href: `${base}/${enc(thing.id)}` }, thing.name || thing.id) : 'deleted');
  return [
    h('div.head', {}, h('div', {}, h('p.crumb', {}, h('a', { href: '#/evaluations' }, 'Evaluations')), h('div.row', {}, h('h1', { tabindex: '-1' }, name), state),
      h('p.sub', {}, linkTo(model, '#/models'), ' on the split ', h('strong', {}, first.split), ' of ', linkTo(set, '#/datasets'), ' · created ', when(first.created_at))), actions),
    trouble, progress, outcome,
  ];
}
