// Soups, which are averages of tuned models of one base: the list, and a form to make one.
import { attempt } from '../actions.js';
import { enc, get, getAll, idempotencyKey, post } from '../api.js';
import { h, fill, section, uniqueId } from '../dom.js';
import { compact, count, modelTitles, percent, plural, when } from '../format.js';
import { pagedTable } from '../list.js';
import { isActive, pill } from '../status.js';
import { textField } from '../upload.js';

const COLUMNS = [{ title: 'Name' }, { title: 'Status' }, { title: 'Method' }, { title: 'Ingredients', class: 'num' }, { title: 'Val accuracy', class: 'num' }, { title: 'Created' }];
const METHODS = [
  ['greedy', 'greedy: add one at a time, keep what helps'],
  ['uniform', 'uniform: the mean of all'],
  ['weighted', 'weighted: a mean with your weights'],
];

function row(soup) {
  return h('tr', {}, h('td.name', {}, h('a.ellipsis', { href: `#/soups/${enc(soup.id)}` }, soup.name || soup.id)), h('td', {}, pill(soup.status)), h('td', {}, soup.method),
    h('td.num', {}, count(soup.models.length)), h('td.num', {}, percent(soup.result?.val_accuracy)), h('td', {}, when(soup.created_at)));
}

function empty() {
  return h('div.empty', {}, h('h2', {}, 'No soups yet'),
    h('p', {}, 'A soup averages the weights of several models that were tuned from one base. A frozen tensor of an ingredient counts with its pre-trained value. The result is as fast as one model.'));
}

/** The tuned models of one base, each with a box, its accuracy and a field for its weight. */
function ingredientList(models, runs, titles, chosen) {
  const accuracy = new Map(runs.filter((r) => r.result?.model).map((r) => [r.result.model, r]));
  return models.map((model) => {
    const id = uniqueId('ingredient');
    const run = accuracy.get(model.id);
    const input = h('input', { type: 'checkbox', id, checked: chosen.has(model.id) });
    const weight = h('input', { type: 'number', min: '0', step: 'any', value: '1', 'aria-label': `Weight of ${titles.get(model.id)}`, hidden: true });
    return { model, input, weight, node: h('div.check.ingredient', {}, input,
      h('label', { for: id }, titles.get(model.id), h('span.hint', {}, `${compact(model.tuned_parameters)} tuned${run ? `, validation accuracy ${percent(run.result.val_accuracy)}` : ''}`)), weight) };
  });
}

function soupForm({ models, runs, sets, chosen, signal }) {
  const bases = new Map();
  for (const model of models.filter((m) => m.kind === 'tuned' && m.base)) bases.set(model.base, [...(bases.get(model.base) ?? []), model]);
  const usable = [...bases].filter(([, list]) => list.length > 1);
  if (!usable.length) return h('p.notice', {}, 'A soup needs at least two models tuned from the same base. Finish two runs first.');
  const titles = modelTitles(models, runs);
  const preferred = usable.find(([, list]) => list.some((m) => chosen.has(m.id)))?.[0] ?? usable[0][0];
  const select = (id, label, options, value) => {
    const input = h('select', { id }, options.map(([v, t]) => h('option', { value: v }, t)));
    if (value) input.value = value;
    return { input, node: h('div.field', {}, h('label', { for: id }, label), input) };
  };
  const base = select('soup-base', 'Base', usable.map(([id, list]) => [id, `${titles.get(id) ?? id} · ${plural(list.length, 'tuned model')}`]), preferred);
  const method = select('soup-method', 'Method', METHODS);
  const dataset = select('soup-dataset', 'Measured on', [['', 'no data set'], ...sets.map((s) => [s.id, s.name || s.id])], sets.length === 1 ? sets[0].id : runs.find((r) => chosen.has(r.result?.model))?.dataset);
  const name = textField({ id: 'soup-name', label: 'Name', hint: 'Optional.', maxlength: '64', pattern: '[a-z0-9][a-z0-9._\\-]{0,63}' });
  const place = h('div.checks');
  const trouble = h('div');
  const keys = new Map();
  let list = [];

  const showWeights = () => { for (const each of list) each.weight.hidden = method.input.value !== 'weighted'; };
  function showBase() {
    list = ingredientList(bases.get(base.input.value), runs, titles, chosen);
    fill(place, list.map((each) => each.node));
    showWeights();
  }
  base.input.addEventListener('change', showBase);
  method.input.addEventListener('change', showWeights);
  showBase();

  const form = h('form.stack', { 'aria-label': 'Make a soup' }, h('div.fields.broad', {}, base.node, method.node, dataset.node, name.node),
    h('fieldset', {}, h('legend.label', {}, 'Ingredients'), place), trouble, h('div', {}, h('button.button.primary', { type: 'submit' }, 'Make the soup')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const used = list.filter((each) => each.input.checked);
    const json = { method: method.input.value, models: used.map((each) => each.model.id) };
    if (name.input.value.trim()) json.name = name.input.value.trim();
    if (dataset.input.value) json.dataset = dataset.input.value;
    if (json.method === 'weighted') json.weights = used.map((each) => Number(each.weight.value));
    const text = JSON.stringify(json);
    // If the form is sent twice because no answer came, it still starts only one soup.
    if (!keys.has(text)) keys.set(text, idempotencyKey());
    attempt(trouble, async () => {
      const soup = await post('/v1/soups', { json, headers: { 'Idempotency-Key': keys.get(text) }, signal });
      location.hash = `#/soups/${enc(soup.id)}`;
    });
  });
  return form;
}

/** The models of the runs of a sweep (?sweep=), or the models in ?models=a,b. */
async function chosenModels(params, runs, signal) {
  if (params.get('models')) return new Set(params.get('models').split(','));
  if (!params.get('sweep')) return new Set();
  const sweep = await get(`/v1/sweeps/${enc(params.get('sweep'))}`, { signal });
  const ids = new Set(sweep.rows.map((r) => r.run));
  return new Set(runs.filter((r) => ids.has(r.id) && r.result?.model).map((r) => r.result.model));
}

export async function soupsPage({ params, signal, setTitle }) {
  setTitle('Soups');
  const [models, runs, sets] = await Promise.all([getAll('/v1/models', { signal }), getAll('/v1/runs?status=succeeded', { signal }), getAll('/v1/datasets', { signal })]);
  const chosen = await chosenModels(params, runs, signal);
  const list = pagedTable({ path: '/v1/soups', caption: 'Soups', columns: COLUMNS, row, empty, signal, interval: (items) => (items.some((s) => isActive(s.status)) ? 2500 : 10000) });
  return [
    h('div.head', {}, h('div', {}, h('h1', { tabindex: '-1' }, 'Soups'), h('p.sub', {}, 'Tuned models of one base, averaged weight by weight.'))),
    section('Make a soup', {}, soupForm({ models, runs, sets, chosen, signal })),
    h('div.card', {}, list.element),
  ];
}
