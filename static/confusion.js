// The confusion matrix as a heat map. A row is the true class, a column the predicted class. Up to
// MOST classes it is a table of buttons. A larger matrix is painted on a canvas; for the keyboard,
// the list of the most frequent confusions leads to the pictures.
import { h, fill } from './dom.js';
import { count, percent } from './format.js';
import { colour, css, inkOn, mix, onTheme } from './theme.js';

const MOST = 40;
const PAIRS = 12;
const CANVAS_PIXELS = 640;

const shade = (right, t) => mix(colour(right ? '--attention-low' : '--ffn-low'), colour(right ? '--attention-high' : '--ffn-high'), t);

function table(labels, matrix, choose) {
  const sums = matrix.map((row) => Math.max(1, row.reduce((a, b) => a + b, 0)));
  const cell = (n, r, c) => {
    if (!n) return h('td.cell');
    const rgb = shade(r === c, n / sums[r]);
    const press = h('button.cell-button', { type: 'button', title: `${labels[r]} taken for ${labels[c]}: ${n}`, 'aria-label': `${n} of ${labels[r]} taken for ${labels[c]}: show them`, on: { click: () => choose(r, c) } }, count(n));
    press.style.setProperty('background-color', css(rgb));
    press.style.setProperty('color', inkOn(rgb));
    return h('td.cell', {}, press);
  };
  return h('div.scroll.matrix-box', { tabindex: '0', role: 'region', 'aria-label': 'Confusion matrix' }, h('table.matrix', {},
    h('caption.visually-hidden', {}, 'Confusion matrix'), h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, h('span.visually-hidden', {}, 'Class')), labels.map((l) => h('th.turned', { scope: 'col', title: l }, h('span', {}, l))))),
    h('tbody', {}, matrix.map((row, r) => h('tr', {}, h('th.clamp-1', { scope: 'row', title: labels[r] }, labels[r]), row.map((n, c) => cell(n, r, c)))))));
}

function canvas(labels, matrix, choose) {
  const K = labels.length;
  const side = Math.max(1, Math.floor(CANVAS_PIXELS / K));
  const node = h('canvas.matrix-canvas', { width: K * side, height: K * side, role: 'img', 'aria-label': `Confusion matrix of ${K} classes; the most frequent confusions are listed below` });
  const context = node.getContext('2d');
  matrix.forEach((row, r) => {
    const sum = Math.max(1, row.reduce((a, b) => a + b, 0));
    row.forEach((n, c) => {
      if (!n) return;
      context.fillStyle = css(shade(r === c, Math.max(0.15, n / sum)));
      context.fillRect(c * side, r * side, side, side);
    });
  });
  node.addEventListener('click', (event) => {
    const box = node.getBoundingClientRect();
    const at = (x, size) => Math.min(K - 1, Math.max(0, Math.floor((K * x) / size)));
    choose(at(event.clientY - box.top, box.height), at(event.clientX - box.left, box.width));
  });
  return node;
}

function pairs(labels, matrix, choose) {
  const wrong = matrix.flatMap((row, r) => row.map((n, c) => ({ n, r, c }))).filter(({ n, r, c }) => n && r !== c).sort((a, b) => b.n - a.n).slice(0, PAIRS);
  if (!wrong.length) return h('p.muted', {}, 'Every picture was classified correctly.');
  return h('ul.plain.pairs', {}, wrong.map(({ n, r, c }) => h('li', {}, h('button.link', { type: 'button', on: { click: () => choose(r, c) } }, `${labels[r]} taken for ${labels[c]}`), h('span.muted', {}, ` ${count(n)}`))));
}

/** Returns {element}; a click on a cell calls choose(row, column). */
export function confusionMatrix({ labels, matrix, choose, signal }) {
  const place = h('div');
  const draw = () => fill(place, labels.length <= MOST ? table(labels, matrix, choose) : canvas(labels, matrix, choose));
  draw();
  onTheme(signal, draw);
  return { element: h('div.stack', {}, h('p.muted', {}, 'Rows: the true class. Columns: the predicted class. A number counts pictures; the shade is the share of the row.'), place, h('h3', {}, 'Most frequent confusions'), pairs(labels, matrix, choose)) };
}

/** For each bin of confidence, the mean confidence beside the accuracy. */
export function calibrationTable(bins, ece) {
  const used = bins.filter((b) => b.images > 0);
  const bar = (value, kind) => { const fillNode = h(`span.fill.${kind}`); fillNode.style.setProperty('width', `${100 * value}%`); return h('span.track', { 'aria-hidden': 'true' }, fillNode); };
  return h('div.stack.tight', {}, h('p.muted', {}, `Expected calibration error ${percent(ece)}: the average difference between confidence and accuracy.`),
    h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Calibration' }, h('table.table.compact.calibration', {}, h('caption.visually-hidden', {}, 'Calibration by confidence'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Confidence'), h('th', { scope: 'col' }, 'Right'), h('th.num', { scope: 'col' }, 'Images'))),
      h('tbody', {}, used.map((b) => h('tr', {}, h('td', {}, percent(b.confidence), bar(b.confidence, 'said')), h('td', {}, percent(b.accuracy), bar(b.accuracy, 'was')), h('td.num', {}, count(b.images))))))));
}
