// The choice of a strategy: a menu, with patterns for `custom` and the choice of layers for
// `angle`.
import { h, fill, uniqueId } from './dom.js';
import { strategyName } from './format.js';

const HINTS = {
  full: 'Every weight of the network.',
  linear: 'Only the new head: linear probing.',
  attention: 'The attention layer of every block, and the head.',
  ffn: 'The FFN layer of every block, and the head.',
  first_third: 'The first third of the blocks, and the head.',
  middle_third: 'The middle third of the blocks, and the head.',
  last_third: 'The last third of the blocks, and the head. The blocks below are computed only once per image.',
  odd: 'Every block with an odd number, and the head.',
  even: 'Every block with an even number, and the head.',
  norm: 'All layer norms, and the head.',
  bias: 'All biases, and the head.',
  custom: 'The tensors that you name: patterns over tensor names, one a line.',
  angle: 'The layers that turned most, or least, in a full fine-tuning, and the head.',
};
const ORDERS = [
  ['largest', 'largest angles: layers that had to move (hard data sets)'],
  ['smallest', 'smallest angles: layers that already fit (easy data sets)'],
];
const AUTO = ['auto', 'try both for a short time, keep the better'];

/** One sentence on what a strategy tunes. */
export const strategyHint = (kind) => HINTS[kind] ?? '';

/** The names of all strategies, from anywhere in the schema. */
export function kindsOf(schema) {
  const own = schema.enum ?? (schema.const === undefined ? [] : [schema.const]);
  const nested = [...(schema.oneOf ?? []), ...(schema.anyOf ?? []), schema.properties?.kind].filter(Boolean).flatMap(kindsOf);
  return [...new Set([...own, ...nested])].filter((k) => typeof k === 'string');
}

export function numberInput(label, value, min = 0) {
  const id = uniqueId('number');
  const input = h('input', { type: 'number', id, min, step: '1', value: String(value) });
  return { input, node: h('div.field', {}, h('label', { for: id }, label), input), get: () => (input.value === '' || input.validity.badInput ? undefined : Number(input.value)) };
}

function menu(label, options) {
  const id = uniqueId('menu');
  const input = h('select', { id }, options.map(([value, text]) => h('option', { value }, text)));
  return { input, node: h('div.field', {}, h('label', { for: id }, label), input) };
}

/** The source of the angles and the number of layers to choose: {node, get(order), set(strategy),
 * order}. runs: the runs whose angles can be used. */
export function angleChoice(runs, { withOrder = true } = {}) {
  const source = menu('Angles from', [['', 'a probe: a short full run before this run'], ...runs.map((r) => [r.id, `${r.name || r.id} · ${strategyName(r.strategy)}`])]);
  const epochs = numberInput('Epochs of the probe', 2, 1);
  const order = menu('Tune the layers with the', [...ORDERS, AUTO]);
  const attention = numberInput('Attention layers', 4);
  const ffn = numberInput('FFN layers', 4);
  const node = h('div.fields', {}, source.node, epochs.node, withOrder ? order.node : null, attention.node, ffn.node);

  function update() {
    const probe = source.input.value === '';
    epochs.node.hidden = !probe;
    const auto = [...order.input.options].find((o) => o.value === 'auto');
    auto.disabled = !probe;
    if (!probe && order.input.value === 'auto') order.input.value = 'largest';
  }
  source.input.addEventListener('change', update);
  update();
  return {
    node,
    set(strategy) {
      if (strategy.from && ![...source.input.options].some((o) => o.value === strategy.from)) source.input.append(h('option', { value: strategy.from }, strategy.from));
      source.input.value = strategy.from ?? '';
      if (strategy.probe?.epochs) epochs.input.value = String(strategy.probe.epochs);
      if (strategy.order) order.input.value = strategy.order;
      if (strategy.attention_layers !== undefined) attention.input.value = String(strategy.attention_layers);
      if (strategy.ffn_layers !== undefined) ffn.input.value = String(strategy.ffn_layers);
      update();
    },
    get(wanted = order.input.value) {
      const from = source.input.value ? { from: source.input.value } : { probe: { epochs: epochs.get() } };
      return { kind: 'angle', ...from, order: wanted, attention_layers: attention.get(), ffn_layers: ffn.get() };
    },
  };
}

/** The strategy of a run: same interface as form.js's `field`. kinds: the names of the schema;
 * runs: see angleChoice. */
export function strategyField(kinds, runs) {
  const id = uniqueId('strategy');
  const input = h('select', { id, name: 'strategy', 'aria-describedby': `${id}-hint ${id}-error` }, kinds.map((k) => h('option', { value: k }, k)));
  const hint = h('span.hint', { id: `${id}-hint`, 'aria-live': 'polite' });
  const error = h('span.error', { id: `${id}-error`, role: 'status' });
  const patterns = h('textarea', { id: `${id}-tune`, rows: '4', spellcheck: 'false', placeholder: 'blocks.{8..11}.attn\nblocks.*.norm1.*\nhead' });
  const custom = h('div.field', { hidden: true }, h('label', { for: `${id}-tune` }, 'Tensors to tune'), patterns);
  const angle = angleChoice(runs);
  const guided = h('div', { hidden: true }, angle.node);
  const node = h('div.field.wide', {}, h('label', { for: id }, 'Strategy'), input, hint, error, custom, guided);
  const update = () => {
    fill(hint, strategyHint(input.value));
    custom.hidden = input.value !== 'custom';
    guided.hidden = input.value !== 'angle';
  };
  input.addEventListener('change', update);
  const set = (value) => {
    const kind = typeof value === 'string' ? value : value?.kind;
    if (kinds.includes(kind)) input.value = kind;
    if (Array.isArray(value?.tune)) patterns.value = value.tune.join('\n');
    if (kind === 'angle' && typeof value === 'object') angle.set(value);
    update();
  };
  set(kinds.includes('attention') ? 'attention' : kinds[0]);
  return {
    node,
    input,
    set,
    get() {
      if (input.value === 'angle') return angle.get();
      if (input.value !== 'custom') return input.value;
      const tune = patterns.value.split('\n').map((line) => line.trim()).filter(Boolean);
      // Without a pattern there is nothing to plan.
      return tune.length ? { kind: 'custom', tune } : undefined;
    },
    fail(text) {
      fill(error, text);
      const target = input.value === 'custom' ? patterns : input;
      for (const each of [input, patterns]) each.removeAttribute('aria-invalid');
      if (text) target.setAttribute('aria-invalid', 'true');
    },
  };
}
