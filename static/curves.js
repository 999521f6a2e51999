// The learning curves of a run: loss and accuracy as events arrive, and the same figures in a
// table.
import { lineChart } from './charts.js';
import { h, fill, section } from './dom.js';
import { digits, duration, percent } from './format.js';

const MOST_STEPS = 4000;
const MOST_ROWS = 1000;
const DRAW_MS = 250;
const SMOOTHING = 0.9;

/** An exponential moving average, corrected for the bias of its first values. */
function smooth(points) {
  let mean = 0;
  let weight = 0;
  return points.map(({ x, y }) => {
    mean = SMOOTHING * mean + (1 - SMOOTHING) * y;
    weight = SMOOTHING * weight + (1 - SMOOTHING);
    return { x, y: mean / weight };
  });
}

function epochTable(epochs, place) {
  const rows = epochs.slice(-MOST_ROWS).map((e) => h('tr', {}, h('th', { scope: 'row' }, e.epoch), h('td.num', {}, digits(e.train_loss)), h('td.num', {}, digits(e.val_loss)),
    h('td.num', {}, percent(e.val_accuracy)), h('td.num', {}, percent(e.val_macro_f1)), h('td.num', {}, duration(e.seconds))));
  fill(place, h('table.table.compact', {}, h('caption.visually-hidden', {}, 'Figures by epoch'),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Epoch'),
      ['Train loss', 'Val loss', 'Val accuracy', 'Macro F1', 'Time'].map((t) => h('th.num', { scope: 'col' }, t)))), h('tbody', {}, rows)));
}

/**
 * Returns {element, scale(stepsPerEpoch), step(event), epoch(event), clear()}. scale sets how steps
 * map to the horizontal axis, which both charts share. A resumed run repeats some steps: a new step
 * replaces all points at or after it.
 */
export function learningCurves({ epochs: total, signal }) {
  let stepsPerEpoch = 1;
  let steps = [];
  let epochs = [];
  let timer = null;
  const x = { title: 'Epoch', whole: true, min: 0, max: total <= 200 ? total : undefined };
  const loss = lineChart({
    label: 'Loss over epochs',
    signal,
    x,
    y: { zero: true },
    series: [
      { label: 'training, by step', colour: '--series-3', width: 0.75 },
      { label: 'training, smoothed', colour: '--series-1' },
      { label: 'validation', colour: '--series-2', dots: true },
    ],
  });
  const accuracy = lineChart({
    label: 'Validation accuracy over epochs',
    signal,
    x,
    y: { zero: true, suggestedMax: 1, format: (v) => percent(v, 0), exact: percent },
    series: [{ label: 'accuracy', colour: '--series-1', dots: true }, { label: 'macro F1', colour: '--series-2', dash: [5, 4], dots: true }],
  });
  const place = h('div.scroll.tall', { tabindex: '0', role: 'region', 'aria-label': 'Figures by epoch' });
  const details = h('details', {}, h('summary', {}, 'Figures by epoch'), place);
  const element = h('div.stack', {}, h('div.halves', {}, section('Loss', {}, loss.element), section('Validation', {}, accuracy.element)),
    h('div.card', {}, details));

  function draw() {
    timer = null;
    const points = steps.map((s) => ({ x: s.step / stepsPerEpoch, y: s.loss }));
    const known = (key) => epochs.filter((e) => typeof e[key] === 'number').map((e) => ({ x: e.epoch, y: e[key] }));
    loss.set(0, points);
    loss.set(1, smooth(points));
    loss.set(2, known('val_loss'));
    accuracy.set(0, known('val_accuracy'));
    accuracy.set(1, known('val_macro_f1'));
    loss.draw();
    accuracy.draw();
    const last = epochs.at(-1);
    if (last) {
      loss.describe(`After epoch ${last.epoch}: training ${digits(last.train_loss)}, validation ${digits(last.val_loss)}.`);
      accuracy.describe(`After epoch ${last.epoch}: accuracy ${percent(last.val_accuracy)}, macro F1 ${percent(last.val_macro_f1)}.`);
    }
    element.dataset.steps = String(steps.at(-1)?.step ?? 0);
    if (details.open) epochTable(epochs, place);
  }

  const soon = () => { timer ??= setTimeout(draw, DRAW_MS); };
  signal.addEventListener('abort', () => clearTimeout(timer));
  details.addEventListener('toggle', () => { if (details.open) epochTable(epochs, place); });

  return {
    element,
    scale(steps) {
      if (!(steps > 0) || steps === stepsPerEpoch) return;
      stepsPerEpoch = steps;
      soon();
    },
    step(event) {
      while (steps.length && steps.at(-1).step >= event.step) steps.pop();
      steps.push(event);
      if (steps.length > MOST_STEPS) steps = steps.filter((_, i) => i % 2 === 0);
      soon();
    },
    epoch(event) {
      while (epochs.length && epochs.at(-1).epoch >= event.epoch) epochs.pop();
      epochs.push(event);
      soon();
    },
    clear() { steps = []; epochs = []; soon(); },
  };
}
