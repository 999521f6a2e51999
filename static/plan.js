// The plan of a run: what it would cost. Requested again 250 ms after the last change; answers to
// earlier requests are dropped.
import { post, connection, Problem } from './api.js';
import { h, fill, facts, problemBox, section } from './dom.js';
import { bytes, count, duration, flops, percent } from './format.js';

const DELAY_MS = 250;
const PARTS = [['weights', 'Weights'], ['gradients', 'Gradients'], ['optimizer', 'Optimiser'], ['activations', 'Activations'], ['prefix_cache', 'Prefix cache']];

function memoryBar(memory) {
  // The total also has memory that belongs to no part: the program itself and work space.
  const sizes = { ...memory, other: memory.total - PARTS.reduce((sum, [key]) => sum + (memory[key] ?? 0), 0) };
  const parts = [...PARTS, ['other', 'Other']].filter(([key]) => sizes[key] > 0);
  const bar = h('div.memory', { 'aria-hidden': 'true' }, parts.map(([key]) => {
    const part = h(`span.part.mem-${key}`);
    part.style.setProperty('width', `${(100 * sizes[key]) / memory.total}%`);
    return part;
  }));
  return h('div.stack.tight', {}, h('div.row.spread', {}, h('h3', {}, 'Memory'), h('strong', {}, bytes(memory.total))), bar,
    h('dl.key-list', {}, parts.map(([key, title]) => h('div', {}, h('dt', {}, h(`span.key.mem-${key}`), title), h('dd', {}, bytes(sizes[key]))))));
}

/** A box per block: frozen prefix, or part of the backward pass. */
function depthStrip(plan, depth) {
  if (!depth) return null;
  const lowest = plan.lowest_tuned_block ?? depth;
  const boxes = Array.from({ length: depth }, (_, b) => h(b < lowest ? 'span.block.frozen' : 'span.block.back'));
  return h('div.depth', { 'aria-hidden': 'true' }, boxes);
}

function reach(plan) {
  const lowest = plan.lowest_tuned_block;
  if (lowest === null || lowest === undefined) return 'the head only';
  return lowest === 0 ? 'all blocks' : `blocks ${lowest} and above`;
}

function prefix(plan) {
  if (!plan.frozen_prefix_blocks) return 'none';
  const kept = plan.prefix_cached ? 'computed once per image, then kept' : 'computed in every epoch';
  return `${plan.frozen_prefix_blocks} ${plan.frozen_prefix_blocks === 1 ? 'block' : 'blocks'}, ${kept}`;
}

const tensors = (plan) => (Array.isArray(plan.tuned_tensors) ? plan.tuned_tensors.length : plan.tuned_tensors);

function drawing(plan, depth) {
  return [
    h('div.figure', {}, h('span.big', {}, count(plan.tuned_parameters)), h('span.muted', {}, `tuned parameters, ${percent(plan.tuned_parameters / plan.total_parameters)} of ${count(plan.total_parameters)}`)),
    depthStrip(plan, depth),
    facts([['Backward pass', reach(plan)], ['Frozen prefix', prefix(plan)], ['Tuned tensors', count(tensors(plan))],
      ['Steps', count(plan.steps)], ['Work per step', flops(plan.flops_per_step)],
      ['Estimated time', plan.estimated_seconds === null ? null : duration(plan.estimated_seconds)]], 'lines'),
    plan.memory_bytes ? memoryBar(plan.memory_bytes) : null,
  ];
}

/** Returns {element, ask(body, depth), wait(text)}. ask plans a run. onErrors gets the field errors
 * of the answer, or an empty list. */
export function planPanel({ signal, onErrors }) {
  const contents = h('div.stack');
  const element = section('Plan', { class: 'plan', 'aria-live': 'polite' }, contents);
  let timer = null;
  let question = null;
  let last = null;

  async function send(body, depth) {
    question?.abort();
    question = new AbortController();
    const mine = question;
    try {
      const plan = await post('/v1/plans', { json: body, signal: mine.signal });
      if (mine.signal.aborted) return;
      onErrors([]);
      contents.classList.remove('stale');
      fill(contents, drawing(plan, depth));
    } catch (error) {
      if (mine.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      const others = onErrors(error.errors);
      if (error.status === 422 && error.errors.length && !others.length) contents.classList.add('stale');
      else if (error.status !== 0) fill(contents, problemBox(error));
    }
  }

  const stop = () => { clearTimeout(timer); question?.abort(); };
  signal.addEventListener('abort', stop);
  connection.addEventListener('online', () => { if (last) send(...last); }, { signal });

  return {
    element,
    ask(body, depth) {
      const text = JSON.stringify([body, depth]);
      if (last && JSON.stringify(last) === text) return;
      stop();
      last = [body, depth];
      contents.classList.add('stale');
      timer = setTimeout(send, DELAY_MS, body, depth);
    },
    wait(text) {
      stop();
      last = null;
      onErrors([]);
      contents.classList.remove('stale');
      fill(contents, h('p.muted', {}, text));
    },
  };
}
