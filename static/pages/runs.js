// The list of runs with their live status.
import { getAll } from '../api.js';
import { h, command } from '../dom.js';
import { compact, percent, strategyName, when } from '../format.js';
import { pagedTable } from '../list.js';
import { isActive, pill, share, timeLeft } from '../status.js';

const COLUMNS = [
  { title: 'Compare' }, { title: 'Name' }, { title: 'Status' }, { title: 'Strategy' }, { title: 'Model' }, { title: 'Data set' }, { title: 'Tuned', class: 'num' },
  { title: 'Val accuracy', class: 'num' }, { title: 'Created' },
];
const BUSY_MS = 2500;
const CALM_MS = 10000;

function statusCell(run) {
  if (!isActive(run.status)) return pill(run.status);
  const bar = h('progress.thin', { max: 1, value: share(run.progress), 'aria-label': `Progress of ${run.name || run.id}` });
  return h('div.stack.tight', {}, h('div.row', {}, pill(run.status), h('span.muted.small', {}, timeLeft(run))), bar);
}

function empty() {
  return h('div.empty', {}, h('h2', {}, 'No runs yet'),
    h('p', {}, 'A run fine-tunes some layers of a model on a data set and measures how far each layer turned.'),
    h('a.button.primary', { href: '#/runs/new' }, 'Start a run'),
    h('p.muted', {}, 'Or from a shell:'),
    command(`curl ${location.origin}/v1/runs -H 'Content-Type: application/json' \\\n  -d '{"model":"vit","dataset":"photos","strategy":"attention"}'`));
}

/** Names of models and data sets by id, fetched again when an id is unknown. */
function nameBook(path, signal) {
  let names = new Map();
  let asked = null;
  const load = async () => { names = new Map((await getAll(path, { signal })).map((item) => [item.id, item.name || item.id])); };
  return {
    load,
    link(id, base, onLoaded) {
      if (names.has(id)) return h('a.ellipsis', { href: `${base}/${encodeURIComponent(id)}` }, names.get(id));
      asked ??= load().then(onLoaded, () => {}).finally(() => setTimeout(() => { asked = null; }, CALM_MS));
      return h('span.muted.ellipsis', { title: id }, 'deleted');
    },
  };
}

export async function runsPage({ signal, setTitle }) {
  setTitle('Runs');
  const models = nameBook('/v1/models', signal);
  const sets = nameBook('/v1/datasets', signal);
  await Promise.all([models.load(), sets.load()]);
  const marked = new Set();
  const compare = h('a.button', { hidden: true }, 'Compare');
  const mark = (run) => {
    const box = h('input', { type: 'checkbox', checked: marked.has(run.id), 'aria-label': `Compare ${run.name || run.id}` });
    box.addEventListener('change', () => {
      if (box.checked) marked.add(run.id);
      else marked.delete(run.id);
      compare.hidden = marked.size < 2;
      compare.href = `#/compare?runs=${[...marked].map(encodeURIComponent).join(',')}`;
      compare.textContent = `Compare ${marked.size} runs`;
    });
    return box;
  };
  const again = () => list.redraw();
  const row = (run) => h('tr', {}, h('td', {}, mark(run)),
    h('td.name', {}, h('a.ellipsis', { href: `#/runs/${encodeURIComponent(run.id)}` }, run.name || run.id)),
    h('td', {}, statusCell(run)), h('td', {}, h('span.ellipsis', { title: strategyName(run.strategy) }, strategyName(run.strategy))),
    h('td', {}, models.link(run.model, '#/models', again)), h('td', {}, sets.link(run.dataset, '#/datasets', again)),
    h('td.num', {}, compact(run.tuned_parameters)), h('td.num', {}, percent(run.result?.val_accuracy)), h('td', {}, when(run.created_at)));
  const list = pagedTable({
    path: '/v1/runs', caption: 'Runs', columns: COLUMNS, row, empty, signal, interval: (items) => (items.some((r) => isActive(r.status)) ? BUSY_MS : CALM_MS),
  });
  return [
    h('div.head', {}, h('div', {}, h('h1', { tabindex: '-1' }, 'Runs'), h('p.sub', {}, 'Newest first. A run continues when you close this page.')),
      h('div.row', {}, compare, h('a.button.primary', { href: '#/runs/new' }, 'New run'))),
    h('div.card', {}, list.element),
  ];
}
