// Formats numbers, sizes and times for people. All functions return a string, except `when`, which
// returns a <time> element.
import { h } from './dom.js';

const whole = new Intl.NumberFormat('en');
const NONE = '–';
const known = (x) => typeof x === 'number' && Number.isFinite(x);

export const count = (n) => (known(n) ? whole.format(n) : NONE);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Three significant digits, without exponents for the sizes that occur here. */
export function digits(x, significant = 3) {
  if (!known(x)) return NONE;
  if (x === 0) return '0';
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-5) return x.toExponential(significant - 1);
  const places = Math.max(0, significant - 1 - Math.floor(Math.log10(size)));
  return x.toFixed(Math.min(places, 8));
}

function scaled(x, base, units) {
  let unit = 0;
  let value = x;
  while (value >= base * 0.9995 && unit < units.length - 1) { value /= base; unit += 1; }
  return [unit === 0 ? whole.format(Math.round(value)) : digits(value), units[unit]];
}

export const bytes = (n) => (known(n) ? scaled(n, 1000, ['B', 'kB', 'MB', 'GB', 'TB']).join('\u00a0') : NONE);
export const compact = (n) => (known(n) ? scaled(n, 1000, ['', 'k', 'M', 'G', 'T']).join('') : NONE);
export const flops = (n) => (known(n) ? `${scaled(n, 1000, ['', 'k', 'M', 'G', 'T', 'P']).join('\u00a0')}FLOP` : NONE);
export const percent = (x, places = 1) => (known(x) ? `${(100 * x).toFixed(places)}\u00a0%` : NONE);
export const degrees = (x) => (known(x) ? `${digits(x)}°` : NONE);

export function duration(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)}\u00a0s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s}\u00a0s`;
  const parts = [[Math.floor(s / 86400), 'd'], [Math.floor(s / 3600) % 24, 'h'], [Math.floor(s / 60) % 60, 'min'], [s % 60, 's']];
  const first = parts.findIndex(([n]) => n > 0);
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, u]) => `${n}\u00a0${u}`).join(' ');
}

/** A duration in milliseconds. */
export const millis = (seconds) => (known(seconds) ? `${digits(seconds * 1000)}\u00a0ms` : NONE);

function relative(date) {
  const seconds = (Date.now() - date.getTime()) / 1000;
  if (seconds < 45) return 'just now';
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  if (seconds < 7 * 86400) return plural(Math.round(seconds / 86400), 'day') + ' ago';
  return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
}

/** "3 min ago", with the exact time on hover. `refreshTimes` updates it. */
export function when(iso) {
  const date = new Date(iso);
  if (!iso || Number.isNaN(date.getTime())) return NONE;
  return h('time', { datetime: iso, title: date.toLocaleString('en-GB') }, relative(date));
}

export function refreshTimes() {
  for (const node of document.querySelectorAll('time[datetime]')) {
    const text = relative(new Date(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  }
}

/** A name that the API accepts, made from a file's name. */
export function slug(fileName) {
  return fileName.toLowerCase().replace(/(\.tar)?\.[a-z0-9]+$/, '').replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '').replace(/[-._]+$/, '').slice(0, 64);
}

/** A run's strategy as text: its kind, the patterns of a custom one, the choice of an angle-guided
 * one. */
export function strategyName(strategy) {
  if (typeof strategy === 'string') return strategy;
  const kind = strategy?.kind ?? NONE;
  if (kind === 'angle') return `angle: ${strategy.order}, ${strategy.attention_layers} attention + ${strategy.ffn_layers} FFN`;
  return strategy?.tune?.length ? `${kind}: ${strategy.tune.join(', ')}` : kind;
}

/** Titles of models by id: the model's name, else the name of the run that made it, else the
 * strategy of that run. */
export function modelTitles(models, runs) {
  const makers = new Map(runs.filter((r) => r.result?.model).map((r) => [r.result.model, r]));
  return new Map(models.map((model) => {
    const run = makers.get(model.id);
    return [model.id, model.name || run?.name || (run ? `${strategyName(run.strategy)}, seed ${run.seed}` : model.id)];
  }));
}
