// One sweep: its runs in a table, the mean and spread of each strategy, and two scatter charts
// whose points lead to the runs.
import { attempt, button, destroy, follow, saveText } from '../actions.js';
import { enc, get, getOrNull, getText, post } from '../api.js';
import { scatterChart } from '../charts.js';
import { h, fill, announce, section, setText } from '../dom.js';
import { bytes, compact, count, duration, percent, when } from '../format.js';
import { isActive, pill } from '../status.js';
import { doneOf, runsOf } from './sweeps.js';

const head = (titles) => h('thead', {}, h('tr', {}, titles.map(([title, kind]) => h(kind ? `th.${kind}` : 'th', { scope: 'col' }, title))));
const scroll = (label, table) => h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': label }, table);

function summaryTable(sweep) {
  const best = Math.max(...sweep.summary.map((s) => s.val_accuracy_mean ?? -1));
  const rows = sweep.summary.map((s) => h('tr', {}, h('th.name', { scope: 'row' }, s.label), h('td.num', {}, compact(s.tuned_parameters)), h('td.num', {}, percent(s.tuned_fraction)),
    h(s.val_accuracy_mean === best ? 'td.num.best' : 'td.num', {}, percent(s.val_accuracy_mean)), h('td.num', {}, s.val_accuracy_std === null ? '–' : `± ${percent(s.val_accuracy_std)}`),
    h('td.num', {}, duration(s.seconds_mean))));
  return scroll('Strategies', h('table.table.compact', {}, h('caption.visually-hidden', {}, 'Mean and spread by strategy'),
    head([['Strategy'], ['Tuned', 'num'], ['of all', 'num'], ['Val accuracy, mean', 'num'], ['Spread', 'num'], ['Time, mean', 'num']]), h('tbody', {}, rows)));
}

function rowsTable(sweep, marked, changed) {
  const rows = sweep.rows.map((r) => {
    const box = h('input', { type: 'checkbox', checked: marked.has(r.run), 'aria-label': `Compare ${r.label}, seed ${r.seed}` });
    box.addEventListener('change', () => { if (box.checked) marked.add(r.run); else marked.delete(r.run); changed(); });
    return h('tr', {}, h('td', {}, box), h('th.name', { scope: 'row' }, h('a', { href: `#/runs/${enc(r.run)}` }, r.label)), h('td.num', {}, r.seed), h('td', {}, pill(r.status)),
      h('td.num', {}, compact(r.tuned_parameters)), h('td.num', {}, percent(r.val_accuracy)), h('td.num', {}, duration(r.seconds)), h('td.num', {}, bytes(r.peak_memory_bytes)));
  });
  return scroll('Runs', h('table.table.compact', {}, h('caption.visually-hidden', {}, 'Runs of the sweep'),
    head([['Compare'], ['Strategy'], ['Seed', 'num'], ['Status'], ['Tuned', 'num'], ['Val accuracy', 'num'], ['Time', 'num'], ['Peak memory', 'num']]), h('tbody', {}, rows)));
}

/** The range of the accuracies with some room, within 0 and 1. */
function bounds(shown) {
  const low = Math.min(1, ...shown.map((p) => p.y));
  const high = Math.max(0, ...shown.map((p) => p.y));
  const room = Math.max(0.02, 0.1 * (high - low));
  return { min: Math.max(0, low - room), max: Math.min(1, high + room) };
}

const points = (sweep, key) => {
  const groups = sweep.summary.map((s) => s.label);
  return sweep.rows.filter((r) => typeof r.val_accuracy === 'number' && typeof r[key] === 'number')
    .map((r) => ({ x: r[key], y: r.val_accuracy, label: `${r.label}, seed ${r.seed}`, group: groups.indexOf(r.label), run: r.run }));
};

export async function sweepPage({ id, signal, setTitle }) {
  const first = await get(`/v1/sweeps/${enc(id)}`, { signal });
  const [model, set] = await Promise.all([getOrNull(`/v1/models/${enc(first.model)}`, { signal }), getOrNull(`/v1/datasets/${enc(first.dataset)}`, { signal })]);
  const name = first.name || first.id;
  const path = `/v1/sweeps/${enc(first.id)}`;
  setTitle(name);
  const trouble = h('div');
  const state = h('span', { id: 'sweep-status', role: 'status' });
  const actions = h('div.row');
  const bar = h('progress', { max: 1, 'aria-label': 'Progress' });
  const text = h('p.muted');
  const progress = h('section.card.progress-card', { 'aria-label': 'Progress' }, bar, text);
  const summary = h('div');
  const rows = h('div');
  const marked = new Set();
  const compare = h('a.button', { hidden: true }, 'Compare');
  const open = (point) => { location.hash = `#/runs/${enc(point.run)}`; };
  const y = { title: 'Validation accuracy', format: (v) => percent(v, 0), exact: percent, bounds };
  const byParameters = scatterChart({ label: 'Validation accuracy against tuned parameters, one point a run', x: { title: 'Tuned parameters', zero: true, format: compact, exact: count }, y, onPick: open, signal });
  const byTime = scatterChart({ label: 'Validation accuracy against training time, one point a run', x: { title: 'Training time', zero: true, format: duration, exact: duration }, y, onPick: open, signal });
  let shown = null;

  function markChanged() {
    compare.hidden = marked.size < 2;
    compare.href = `#/compare?runs=${[...marked].map(enc).join(',')}`;
    setText(compare, `Compare ${marked.size} runs`);
  }

  const linkTo = (thing, base) => (thing ? h('a', { href: `${base}/${enc(thing.id)}` }, thing.name || thing.id) : 'deleted');
  const act = (verb) => attempt(trouble, async () => { await post(`${path}/${verb}`, { signal }); again(); });

  function draw(sweep) {
    bar.value = doneOf(sweep) / Math.max(1, runsOf(sweep));
    setText(text, `${doneOf(sweep)} of ${runsOf(sweep)} runs done`);
    progress.hidden = !isActive(sweep.status);
    if (shown !== sweep.status) {
      if (shown) announce(`The sweep is ${sweep.status}`);
      shown = sweep.status;
      fill(state, pill(sweep.status));
      fill(actions, compare, h('a.button', { href: `#/soups?sweep=${enc(sweep.id)}` }, 'Blend into a soup'), isActive(sweep.status) ? button('Cancel', () => act('cancel'), '.danger')
        : button('Delete', () => destroy({ what: 'sweep', name, text: `${name} is removed. Its runs and their models stay.`, path, back: '#/sweeps', place: trouble }), '.danger'));
    }
    fill(summary, summaryTable(sweep));
    if (!rows.contains(document.activeElement)) fill(rows, rowsTable(sweep, marked, markChanged));
    byParameters.set(points(sweep, 'tuned_parameters'));
    byTime.set(points(sweep, 'seconds'));
  }

  const again = follow(path, first, draw, signal);
  return [
    h('div.head', {}, h('div', {}, h('p.crumb', {}, h('a', { href: '#/sweeps' }, 'Sweeps')), h('div.row', {}, h('h1', { tabindex: '-1' }, name), state),
      h('p.sub', {}, linkTo(model, '#/models'), ' on ', linkTo(set, '#/datasets'), ' · created ', when(first.created_at))), actions),
    trouble, progress, section('Strategies', {}, summary),
    h('div.halves', {}, section('Accuracy against tuned parameters', {}, byParameters.element), section('Accuracy against time', {}, byTime.element)),
    section('Runs', {}, rows, h('div', {}, button('Download the table as CSV', () => attempt(trouble, async () => saveText(`${name}.csv`, await getText(path, { headers: { Accept: 'text/csv' }, signal })))))),
  ];
}
