// Runs side by side: their settings (differences stand out), their curves, their results and their
// angles.
import { get, query } from '../api.js';
import { lineChart } from '../charts.js';
import { h, section } from '../dom.js';
import { bytes, count, degrees, digits, duration, percent, strategyName } from '../format.js';
import { heatMap } from '../heatmap.js';
import { pill } from '../status.js';
import { css, mix, colour } from '../theme.js';

const text = (key, value) => {
  if (value === null || value === undefined) return '–';
  if (key === 'strategy') return strategyName(value);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
};
const nameOf = (run) => run.name || `${strategyName(run.configuration.strategy)}, seed ${run.configuration.seed}`;
const scroll = (label, table) => h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': label }, table);
const columns = (runs, first) => h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, first), runs.map((r) => h('th', { scope: 'col' }, h('a', { href: `#/runs/${encodeURIComponent(r.id)}` }, nameOf(r))))));

const RESULTS = [
  ['Status', (r) => pill(r.status)], ['Validation accuracy', (r) => percent(r.result?.val_accuracy)], ['Macro F1', (r) => percent(r.result?.val_macro_f1)],
  ['Validation loss', (r) => digits(r.result?.val_loss)], ['Training loss', (r) => digits(r.result?.train_loss)], ['Tuned parameters', (r) => count(r.tuned_parameters)],
  ['Training time', (r) => duration(r.result?.seconds)], ['Peak memory', (r) => bytes(r.result?.peak_memory_bytes)],
];

function results(runs) {
  return scroll('Results', h('table.table.compact', {}, h('caption.visually-hidden', {}, 'Results'), columns(runs, 'Result'),
    h('tbody', {}, RESULTS.map(([title, value]) => h('tr', {}, h('th', { scope: 'row' }, title), runs.map((r) => h('td', {}, value(r))))))));
}

function configurations(runs, differing) {
  const keys = [...new Set(runs.flatMap((r) => Object.keys(r.configuration)))].sort((a, b) => differing.includes(b) - differing.includes(a));
  const row = (key) => h(differing.includes(key) ? 'tr.differs' : 'tr', {}, h('th', { scope: 'row' }, key.replaceAll('_', ' '), differing.includes(key) ? h('span.visually-hidden', {}, ' (differs)') : null),
    runs.map((r) => h('td', {}, text(key, r.configuration[key]))));
  return scroll('Settings', h('table.table.compact', {}, h('caption.visually-hidden', {}, 'Settings'), columns(runs, 'Setting'), h('tbody', {}, keys.map(row))));
}

/** One line a run, from one end of the two series colours to the other. */
function curves(runs, { label, key, y, signal }) {
  const paint = (i) => () => css(mix(colour('--series-1'), colour('--series-2'), runs.length > 1 ? i / (runs.length - 1) : 0));
  const chart = lineChart({ label, signal, x: { title: 'Epoch', whole: true }, y, series: runs.map((r, i) => ({ label: nameOf(r), colour: paint(i), dots: true })) });
  runs.forEach((r, i) => chart.set(i, r.epochs.filter((e) => typeof e[key] === 'number').map((e) => ({ x: e.epoch, y: e[key] }))));
  chart.draw();
  return chart.element;
}

function angles(runs, signal) {
  return runs.filter((r) => r.angles?.length).map((r) => {
    const map = heatMap(signal);
    const last = r.epochs.at(-1)?.epoch ?? 0;
    map.show({ epoch: last, layers: r.angles });
    const most = r.angles.reduce((a, b) => (b.degrees > a.degrees ? b : a));
    return h('div.stack.tight', {}, h('h3', {}, nameOf(r)), map.element, h('p.muted.small', {}, `Turned most: ${most.name}, ${degrees(most.degrees)}`));
  });
}

export async function comparePage({ params, signal, setTitle }) {
  setTitle('Compare runs');
  const { runs, differing } = await get(query('/v1/compare', { runs: params.get('runs') ?? '' }), { signal });
  const percentAxis = { zero: true, suggestedMax: 1, format: (v) => percent(v, 0), exact: percent };
  return [
    h('div.head', {}, h('div', {}, h('p.crumb', {}, h('a', { href: '#/runs' }, 'Runs')), h('h1', { tabindex: '-1' }, `Compare ${runs.length} runs`),
      h('p.sub', {}, differing.length ? `They differ in ${differing.map((d) => d.replaceAll('_', ' ')).join(', ')}.` : 'All their settings are the same.'))),
    section('Results', {}, results(runs)),
    h('div.halves', {}, section('Validation accuracy', {}, curves(runs, { label: 'Validation accuracy over epochs, one line a run', key: 'val_accuracy', y: percentAxis, signal })),
      section('Training loss', {}, curves(runs, { label: 'Training loss over epochs, one line a run', key: 'train_loss', y: { zero: true }, signal }))),
    section('Angles', {}, h('div.stack', {}, angles(runs, signal))),
    section('Settings', {}, configurations(runs, differing)),
  ];
}
