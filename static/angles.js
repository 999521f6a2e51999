// The angles of a run: the heat map of one epoch, a slider for the epoch, curves over all epochs,
// and a table of all tensors.
import { h, fill, section, setText, uniqueId } from './dom.js';
import { degrees } from './format.js';
import { lineChart } from './charts.js';
import { GROUPS, heatMap, shade } from './heatmap.js';
import { css } from './theme.js';

const MOST_EPOCHS = 400;
const DRAW_MS = 200;

function curves(group, title, layers, signal) {
  const depth = Math.max(1, layers.length - 1);
  return lineChart({
    label: `${title} angles over epochs, one line per block`,
    signal,
    legend: false,
    series: layers.map((layer, i) => ({ label: layer.name, width: 1.5, dots: true, colour: () => css(shade(group, 0.3 + (0.7 * i) / depth)) })),
    x: { title: 'Epoch', whole: true },
    y: { zero: true, exact: degrees },
  });
}

function depthLegend(group, depth) {
  return h('p.legend', {}, 'first block', h(`span.strip.lines-${group}`, { 'aria-hidden': 'true' }), `last of ${depth}`);
}

function tensorTable(epoch) {
  const rows = epoch.layers.flatMap((layer) => (layer.tensors ?? []).map((tensor) => h('tr', {},
    h('th.mono', { scope: 'row' }, tensor.name), h('td.num', {}, degrees(tensor.degrees)))));
  return h('table.table.compact', {}, h('caption', {}, `Angles of single tensors after epoch ${epoch.epoch}`),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Tensor'), h('th.num', { scope: 'col' }, 'Angle'))), h('tbody', {}, rows));
}

/** Returns {element, add(epoch), clear()}. add takes items of `epochs` of an angle answer, in any
 * order. */
export function anglesPanel(signal) {
  const epochs = new Map();
  const map = heatMap(signal);
  const sliderId = uniqueId('epoch');
  const slider = h('input', { type: 'range', id: sliderId, min: '1', max: '1', step: '1', value: '1' });
  const which = h('output', { for: sliderId });
  const control = h('div.slider', { hidden: true }, h('label', { for: sliderId }, 'Epoch'), slider, which);
  const charts = h('div.halves');
  const details = h('details', {}, h('summary', {}, 'Angles of single tensors'), h('div.scroll.tall', { tabindex: '0', role: 'region', 'aria-label': 'Angles of single tensors' }));
  const element = section('Angles', { id: 'angles', hidden: true },
    h('p.muted', {}, 'How far each layer’s weights turned away from the pre-trained weights. A layer with a large angle had to change much to learn the task.'),
    control, map.element, charts, details);
  let lines = null;
  // The epoch that the slider shows; null: the newest.
  let chosen = null;
  let timer = null;

  const order = () => [...epochs.keys()].sort((a, b) => a - b);

  /** Limits memory and drawing in a run of thousands of epochs: drops every second epoch, but keeps
   * the newest. */
  function thin() {
    order().slice(0, -1).forEach((number, i) => { if (i % 2 === 1) epochs.delete(number); });
  }

  function show() {
    const numbers = order();
    const position = chosen === null ? numbers.length - 1 : Math.max(0, numbers.findLastIndex((n) => n <= chosen));
    slider.max = String(numbers.length);
    slider.value = String(position + 1);
    const epoch = epochs.get(numbers[position]);
    slider.setAttribute('aria-valuetext', `epoch ${epoch.epoch}`);
    setText(which, `${epoch.epoch} of ${numbers.at(-1)}`);
    control.hidden = numbers.length < 2;
    element.hidden = false;
    map.show(epoch);
    if (details.open) fill(details.lastElementChild, tensorTable(epoch));
  }

  function drawCurves() {
    const numbers = order();
    if (numbers.length < 2) return;
    if (!lines) {
      // A frozen group has no curves.
      const turned = (group) => epochs.get(numbers.at(-1)).layers.filter((l) => l.group === group && l.degrees > 0);
      lines = GROUPS.filter(([group]) => turned(group).length).map(([group, title]) => {
        const mine = turned(group);
        return { group, title, names: mine.map((l) => l.name), chart: curves(group, title, mine, signal) };
      });
      fill(charts, lines.map(({ group, title, names, chart }) => h('div', {}, h('h3', {}, `${title}, degrees by epoch`), depthLegend(group, names.length), chart.element)));
    }
    const tables = numbers.map((n) => [n, new Map(epochs.get(n).layers.map((l) => [l.name, l.degrees]))]);
    for (const { names, chart } of lines) {
      names.forEach((name, i) => chart.set(i, tables.map(([n, table]) => ({ x: n, y: table.get(name) ?? 0 }))));
      chart.draw();
    }
  }

  slider.addEventListener('input', () => {
    chosen = Number(slider.value) === epochs.size ? null : order()[Number(slider.value) - 1];
    show();
  });
  details.addEventListener('toggle', () => { if (details.open && epochs.size) show(); });

  return {
    element,
    // Many epochs arrive at once when a page opens, and short epochs arrive fast: draw them
    // together.
    add(epoch) {
      epochs.set(epoch.epoch, epoch);
      if (epochs.size > MOST_EPOCHS) thin();
      timer ??= setTimeout(() => {
        timer = null;
        if (signal.aborted || !epochs.size) return;
        show();
        drawCurves();
      }, DRAW_MS);
    },
    clear() { epochs.clear(); },
  };
}
