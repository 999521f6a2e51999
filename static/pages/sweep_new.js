// Launches a sweep: the strategies, the seeds, and the settings that all runs share.
import { enc, get, getAll, idempotencyKey, post, Problem } from '../api.js';
import { field, showErrors } from '../form.js';
import { h, fill, problemBox, section, command, uniqueId } from '../dom.js';
import { compact, count, plural } from '../format.js';
import { angleChoice, kindsOf, strategyHint } from '../strategy.js';

// Set by the sweep itself, or different in each of its runs.
const NOT_COMMON = ['name', 'model', 'dataset', 'strategy', 'seed'];
const FIRST = ['epochs', 'batch_size', 'image_size', 'augment', 'head', 'lr'];
const CHOSEN = ['full', 'linear', 'attention', 'ffn', 'last_third'];
const ANGLES = [['largest', 'largest angles'], ['smallest', 'smallest angles'], ['auto', 'the better of both']];

function checkbox(label, hint, checked) {
  const id = uniqueId('check');
  const input = h('input', { type: 'checkbox', id, checked });
  return { input, node: h('div.check', {}, input, h('label', { for: id }, label, hint ? h('span.hint', {}, hint) : null)) };
}

/** Returns {node, get()}. get returns the ticked strategies. */
function strategyList(kinds, runs) {
  const plain = kinds.filter((k) => k !== 'custom' && k !== 'angle').map((kind) => [kind, checkbox(kind, strategyHint(kind), CHOSEN.includes(kind))]);
  const guided = kinds.includes('angle') ? ANGLES.map(([order, label]) => [order, checkbox(`angle: ${label}`, null, false)]) : [];
  const choice = angleChoice(runs, { withOrder: false });
  const options = h('div', { hidden: true }, choice.node);
  const update = () => { options.hidden = !guided.some(([, box]) => box.input.checked); };
  for (const [, box] of guided) box.input.addEventListener('change', update);
  return {
    node: h('fieldset.stack', {}, h('legend.visually-hidden', {}, 'Strategies'), h('div.checks', {}, plain.map(([, box]) => box.node)),
      guided.length ? [h('h3', {}, 'Layers chosen by their angles'), h('div.checks', {}, guided.map(([, box]) => box.node)), options] : null),
    get: () => [...plain.filter(([, box]) => box.input.checked).map(([kind]) => kind), ...guided.filter(([, box]) => box.input.checked).map(([order]) => choice.get(order))],
  };
}

const seedsOf = (text) => text.split(/[\s,;]+/).filter(Boolean).map(Number);

export async function newSweepPage({ params, signal, setTitle }) {
  setTitle('New sweep');
  const [schema, models, sets, runs] = await Promise.all([get('/v1/schemas/run', { signal }), getAll('/v1/models', { signal }), getAll('/v1/datasets', { signal }),
    getAll('/v1/runs?status=succeeded', { signal, most: 200 })]);
  const head = h('div.head', {}, h('div', {}, h('p.crumb', {}, h('a', { href: '#/sweeps' }, 'Sweeps')), h('h1', { tabindex: '-1' }, 'New sweep'),
    h('p.sub', {}, 'One run for every strategy and seed, on the same split. The outputs of frozen blocks are computed once for all runs.')));
  if (!models.length || !sets.length) {
    return [head, h('div.card', {}, h('div.empty', {}, h('h2', {}, 'Not yet'), h('p', {}, 'A sweep needs a ', h('a', { href: '#/models' }, 'model'), ' and a ', h('a', { href: '#/datasets' }, 'data set'), '.')))];
  }
  const menu = (items, text) => items.map((item) => ({ value: item.id, text: text(item) }));
  const choices = { model: menu(models, (m) => `${m.name || m.id} · ${compact(m.parameters)}`), dataset: menu(sets, (s) => `${s.name || s.id} · ${count(s.classes.length)} classes`) };
  const make = (name) => [name, field(name, schema.properties[name], schema, choices[name])];
  const own = new Map(['model', 'dataset', 'name'].map(make));
  const common = new Map(Object.keys(schema.properties).filter((name) => !NOT_COMMON.includes(name)).map(make));
  const strategies = strategyList(kindsOf(schema.properties.strategy), runs);
  const seeds = h('input', { type: 'text', id: 'sweep-seeds', value: '0', autocomplete: 'off', spellcheck: 'false' });
  for (const [name, items] of [['model', models.filter((m) => m.kind === 'base')], ['dataset', sets]]) {
    if (params.has(name)) own.get(name).set(params.get(name));
    else if (items.length === 1) own.get(name).set(items[0].id);
  }

  const trouble = h('div');
  const launch = h('button.button.primary', { type: 'submit' }, 'Start the sweep');
  const summary = h('p.muted', { 'aria-live': 'polite' });
  const asShell = h('details', {}, h('summary', {}, 'As a curl command'), h('div'));
  const keys = new Map();
  const given = (fields) => Object.fromEntries([...fields].map(([name, each]) => [name, each.get()]).filter(([, value]) => value !== undefined && value !== ''));
  const body = () => ({ ...given(own), strategies: strategies.get(), seeds: seedsOf(seeds.value), defaults: given(common) });

  function changed() {
    const json = body();
    const runsWanted = json.strategies.length * json.seeds.length;
    fill(summary, runsWanted ? `${plural(json.strategies.length, 'strategy', 'strategies')} with ${plural(json.seeds.length, 'seed')}: ${plural(runsWanted, 'run')}.` : 'Choose at least one strategy and one seed.');
    fill(asShell.lastElementChild, command(`curl ${location.origin}/v1/sweeps -H 'Content-Type: application/json' \\\n  -d '${JSON.stringify(json).replaceAll("'", "'\\''")}'`));
  }

  async function submit(event) {
    event.preventDefault();
    const json = body();
    const text = JSON.stringify(json);
    // If the form is sent twice because no answer came, it still starts only one sweep.
    if (!keys.has(text)) keys.set(text, idempotencyKey());
    launch.disabled = true;
    fill(trouble);
    try {
      const sweep = await post('/v1/sweeps', { json, headers: { 'Idempotency-Key': keys.get(text) }, signal });
      location.hash = `#/sweeps/${enc(sweep.id)}`;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      if (error.status !== 0) keys.delete(text);
      const inside = error.errors.map((e) => ({ ...e, pointer: (e.pointer ?? '').replace(/^\/defaults/, '') }));
      error.errors = showErrors(new Map([...own, ...common]), inside);
      fill(trouble, problemBox(error));
      form.querySelector('[aria-invalid]')?.focus();
    }
    launch.disabled = false;
  }

  const grid = (names) => h('div.fields', {}, names.filter((n) => common.has(n)).map((n) => common.get(n).node));
  const form = h('form.halves.with-side', { novalidate: true, 'aria-label': 'New sweep', on: { input: changed, change: changed, submit } },
    h('div.stack', {}, section('What to compare', {}, h('div.fields.broad', {}, [...own.values()].map((f) => f.node))), section('Strategies', {}, strategies.node),
      section('Every run', {}, h('div.fields', {}, h('div.field', {}, h('label', { for: 'sweep-seeds' }, 'Seeds'), seeds, h('span.hint', {}, 'Numbers, separated by commas. Each strategy runs with each seed.'))), grid(FIRST)),
      h('details.card', {}, h('summary', {}, 'More settings'), grid([...common.keys()].filter((n) => !FIRST.includes(n))))),
    h('div.stack.side', {}, section('Runs', {}, summary), trouble, launch, asShell));
  changed();
  return [head, form];
}
