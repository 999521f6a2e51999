// Evaluations of models on a split of a data set: the list, and a form to start one.
import { attempt } from '../actions.js';
import { enc, getAll, idempotencyKey, post } from '../api.js';
import { h, section } from '../dom.js';
import { count, modelTitles, percent, when } from '../format.js';
import { pagedTable } from '../list.js';
import { isActive, pill } from '../status.js';

const COLUMNS = [{ title: 'Evaluation' }, { title: 'Status' }, { title: 'Data set' }, { title: 'Split' }, { title: 'Images', class: 'num' }, { title: 'Accuracy', class: 'num' }, { title: 'Created' }];
const SPLITS = [['val', 'validation'], ['test', 'test'], ['train', 'training'], ['all', 'all']];

function empty() {
  return h('div.empty', {}, h('h2', {}, 'No evaluations yet'),
    h('p', {}, 'An evaluation measures a model on a split: its accuracy by class, its confusion matrix with the pictures, and its calibration.'));
}

function evaluationForm({ models, titles, sets, params, signal }) {
  if (!models.length || !sets.length) return h('p.notice', {}, 'An evaluation needs a model that classifies and a data set with its classes.');
  const select = (id, label, options, value) => {
    const input = h('select', { id }, options.map(([v, t]) => h('option', { value: v }, t)));
    if (value) input.value = value;
    return { input, node: h('div.field', {}, h('label', { for: id }, label), input) };
  };
  const model = select('evaluation-model', 'Model', models.map((m) => [m.id, `${titles.get(m.id)} · ${count(m.architecture.classes)} classes`]), params.get('model'));
  const dataset = select('evaluation-dataset', 'Data set', sets.map((s) => [s.id, s.name || s.id]), params.get('dataset'));
  const split = select('evaluation-split', 'Split', SPLITS);
  const trouble = h('div');
  const form = h('form.stack', { 'aria-label': 'Evaluate a model' }, h('div.fields', {}, model.node, dataset.node, split.node), trouble,
    h('div', {}, h('button.button.primary', { type: 'submit' }, 'Evaluate')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const json = { model: model.input.value, dataset: dataset.input.value, split: split.input.value };
    attempt(trouble, async () => {
      const evaluation = await post('/v1/evaluations', { json, headers: { 'Idempotency-Key': idempotencyKey() }, signal });
      location.hash = `#/evaluations/${enc(evaluation.id)}`;
    });
  });
  return form;
}

export async function evaluationsPage({ params, signal, setTitle }) {
  setTitle('Evaluations');
  const [models, sets, runs] = await Promise.all([getAll('/v1/models', { signal }), getAll('/v1/datasets', { signal }), getAll('/v1/runs?status=succeeded', { signal })]);
  const titles = new Map([...modelTitles(models, runs), ...sets.map((t) => [t.id, t.name || t.id])]);
  const row = (e) => h('tr', {}, h('td.name', {}, h('a.ellipsis', { href: `#/evaluations/${enc(e.id)}` }, e.name || titles.get(e.model) || e.id)), h('td', {}, pill(e.status)),
    h('td', {}, h('span.ellipsis', {}, titles.get(e.dataset) ?? 'deleted')), h('td', {}, e.split), h('td.num', {}, count(e.result?.images)), h('td.num', {}, percent(e.result?.accuracy)), h('td', {}, when(e.created_at)));
  const list = pagedTable({ path: '/v1/evaluations', caption: 'Evaluations', columns: COLUMNS, row, empty, signal, interval: (items) => (items.some((e) => isActive(e.status)) ? 2500 : 10000) });
  return [
    h('div.head', {}, h('div', {}, h('h1', { tabindex: '-1' }, 'Evaluations'), h('p.sub', {}, 'How often a model is right, which classes it confuses, and how well its confidence fits.'))),
    section('Evaluate a model', {}, evaluationForm({ models: models.filter((m) => m.architecture.classes > 0), titles, sets, params, signal })),
    h('div.card', {}, list.element),
  ];
}
