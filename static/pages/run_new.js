// Launches a run: a form from the service's schema, and beside it the plan for the current values.
import { enc, get, getAll, getOrNull, idempotencyKey, post, Problem } from '../api.js';
import { field, showErrors } from '../form.js';
import { h, fill, problemBox, section, command } from '../dom.js';
import { compact, count } from '../format.js';
import { planPanel } from '../plan.js';
import { kindsOf, strategyField } from '../strategy.js';

// The order of the fields that this page knows; a field that the service adds later goes to the
// last group.
const GROUPS = [
  ['What to tune', true, ['model', 'dataset', 'strategy', 'name']],
  ['Training', true, ['epochs', 'batch_size', 'lr', 'augment']],
  ['Optimiser and schedule', false, ['optimizer', 'schedule', 'warmup_steps', 'weight_decay', 'clip_norm', 'layer_decay', 'label_smoothing', 'class_weights', 'early_stop_epochs', 'head', 'image_size']],
  ['Running', false, ['seed', 'eval_every_epochs', 'checkpoint_every_seconds', 'micro_batch_size', 'priority', 'threads', 'precision']],
];

function makeFields(schema, models, sets, runs) {
  const choices = {
    model: models.map((m) => ({ value: m.id, text: `${m.name || m.id} · ${compact(m.parameters)}` })),
    dataset: sets.map((s) => ({ value: s.id, text: `${s.name || s.id} · ${count(s.classes.length)} classes` })),
  };
  return new Map(Object.entries(schema.properties).map(([name, property]) => [name,
    name === 'strategy' ? strategyField(kindsOf(property), runs) : field(name, property, schema, choices[name])]));
}

function layout(fields) {
  const known = new Set(GROUPS.flatMap(([, , names]) => names));
  const others = [...fields.keys()].filter((name) => !known.has(name));
  return GROUPS.map(([title, open, names], i) => {
    const mine = [...names, ...(i === GROUPS.length - 1 ? others : [])].filter((name) => fields.has(name)).map((name) => fields.get(name).node);
    const grid = h(i === 0 ? 'div.fields.broad' : 'div.fields', {}, mine);
    return open ? section(title, {}, grid) : h('details.card', {}, h('summary', {}, title), grid);
  });
}

/** What is still missing for a run, with the next step. */
function missing(models, sets) {
  if (models.length && sets.length) return null;
  const steps = [
    sets.length ? null : h('p', {}, 'A run needs photographs to learn from: ', h('a', { href: '#/datasets' }, 'upload a data set'), '.'),
    models.length ? null : h('p', {}, 'A run needs a model to start from: ', h('a', { href: '#/models' }, 'upload a checkpoint or create a model'), '.')];
  return h('div.card', {}, h('div.empty', {}, h('h2', {}, 'Not yet'), steps));
}

/** Fills the form from the address: ?model=, ?dataset=, ?from= an earlier run, ?angles= the run
 * whose angles choose the layers. */
async function prefill(fields, params, signal) {
  const earlier = params.get('angles') ?? params.get('from');
  const from = earlier ? await getOrNull(`/v1/runs/${enc(earlier)}`, { signal }) : null;
  if (from && params.has('angles')) from.strategy = { kind: 'angle', from: from.id, order: 'largest', attention_layers: 4, ffn_layers: 4 };
  for (const [name, each] of fields) {
    if (from && name !== 'name' && from[name] !== undefined) each.set(from[name]);
    if (params.has(name)) each.set(params.get(name));
  }
}

export async function newRunPage({ params, signal, setTitle }) {
  setTitle('New run');
  const [schema, models, sets, runs] = await Promise.all([get('/v1/schemas/run', { signal }), getAll('/v1/models', { signal }), getAll('/v1/datasets', { signal }),
    getAll('/v1/runs?status=succeeded', { signal, most: 200 })]);
  const head = h('div.head', {}, h('div', {}, h('p.crumb', {}, h('a', { href: '#/runs' }, 'Runs')), h('h1', { tabindex: '-1' }, 'New run'),
    h('p.sub', {}, 'Choose what to tune; the plan says what it will cost before anything runs.')));
  const obstacle = missing(models, sets);
  if (obstacle) return [head, obstacle];

  const fields = makeFields(schema, models, sets, runs);
  await prefill(fields, params, signal);
  const bases = models.filter((m) => m.kind === 'base');
  for (const [name, only] of [['model', bases], ['dataset', sets]]) if (only.length === 1 && !fields.get(name).input.value) fields.get(name).set(only[0].id);

  // The errors of the last launch stay beside their fields until the form changes, even if the plan
  // finds no error.
  let refused = { text: '', errors: [] };
  const plan = planPanel({
    signal,
    onErrors: (errors) => showErrors(fields, JSON.stringify(body()) === refused.text ? [...errors, ...refused.errors] : errors),
  });
  const trouble = h('div');
  const launch = h('button.button.primary', { type: 'submit' }, 'Start the run');
  const asShell = h('details', {}, h('summary', {}, 'As a curl command'), h('div'));
  const keys = new Map();

  function body() {
    const given = [...fields].map(([name, each]) => [name, each.get()]).filter(([, value]) => value !== undefined && value !== '');
    return Object.fromEntries(given);
  }

  function changed() {
    const json = body();
    if (!json.model || !json.dataset) plan.wait('Choose a model and a data set to see what a run would cost.');
    else if (!json.strategy) plan.wait('Name at least one tensor pattern to see what a run would cost.');
    else plan.ask(json, models.find((m) => m.id === json.model)?.architecture.depth);
    fill(asShell.lastElementChild, command(`curl ${location.origin}/v1/runs -H 'Content-Type: application/json' \\\n  -d '${JSON.stringify(json).replaceAll("'", "'\\''")}'`));
  }

  async function submit(event) {
    event.preventDefault();
    const json = body();
    const text = JSON.stringify(json);
    // If the form is sent twice because no answer came, it still starts only one run.
    if (!keys.has(text)) keys.set(text, idempotencyKey());
    launch.disabled = true;
    fill(trouble);
    try {
      const run = await post('/v1/runs', { json, headers: { 'Idempotency-Key': keys.get(text) }, signal });
      location.hash = `#/runs/${enc(run.id)}`;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      if (error.status !== 0) keys.delete(text);
      refused = { text, errors: error.errors };
      error.errors = showErrors(fields, error.errors);
      fill(trouble, problemBox(error));
      form.querySelector('[aria-invalid]')?.focus();
    }
    launch.disabled = false;
  }

  const form = h('form.halves.with-side', { novalidate: true, 'aria-label': 'New run', on: { input: changed, change: changed, submit } },
    h('div.stack', {}, layout(fields)),
    h('div.stack.side', {}, plan.element, trouble, launch, asShell));
  changed();
  return [head, form];
}
