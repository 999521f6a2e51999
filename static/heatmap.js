// Angles as a heat map. It is a table (blocks by attention and FFN) with coloured cells, so that a
// screen reader can read it. Angles are ranked only inside a group, so each group has its own
// colour scale, from its smallest to its largest angle.
import { h, fill } from './dom.js';
import { degrees, digits } from './format.js';
import { colour, css, inkOn, mix, onTheme } from './theme.js';

export const GROUPS = [['attention', 'Attention'], ['ffn', 'FFN']];
const CELL_WIDTH = 58;
const LABEL_WIDTH = 110;

/** The colour of a group at t in 0..1, as [r, g, b]. */
export const shade = (group, t) => mix(colour(`--${group}-low`), colour(`--${group}-high`), t);

function range(layers) {
  const turned = layers.map((l) => l.degrees).filter((d) => d > 0);
  return turned.length ? [Math.min(...turned), Math.max(...turned)] : [0, 0];
}

function paintedCell(layer, [low, high]) {
  if (!layer) return h('td.heat.frozen', {}, h('span.visually-hidden', {}, 'none'));
  if (!(layer.degrees > 0)) return h('td.heat.frozen', { title: `${layer.name}: frozen, did not turn` }, '0', h('span.visually-hidden', {}, ' (frozen)'));
  const t = high > low ? (layer.degrees - low) / (high - low) : 1;
  const rgb = shade(layer.group, t);
  const tensors = (layer.tensors ?? []).map((tensor) => `${tensor.name} ${degrees(tensor.degrees)}`);
  const cell = h('td.heat', { title: [`${layer.name}: ${degrees(layer.degrees)}, rank ${layer.rank}`, ...tensors].join('\n') },
    h('span.deg', {}, digits(layer.degrees)), h('span.rank', {}, h('span.visually-hidden', {}, ', rank '), `#${layer.rank}`));
  cell.style.setProperty('background-color', css(rgb));
  cell.style.setProperty('color', inkOn(rgb));
  return cell;
}

function legend(group, title, layers) {
  const [low, high] = range(layers);
  if (!(high > 0)) return h('span.legend', {}, `${title}: frozen`);
  return h('span.legend', {}, `${title} `, degrees(low), h(`span.strip.${group}`, { 'aria-hidden': 'true' }), degrees(high));
}

function wide(blocks, cells) {
  return [h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Block'), blocks.map((b) => h('th', { scope: 'col' }, b)))),
    h('tbody', {}, GROUPS.map(([group, title]) => h('tr', {}, h('th', { scope: 'row' }, title), blocks.map((b) => cells[group](b)))))];
}

function tall(blocks, cells) {
  return [h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Block'), GROUPS.map(([, title]) => h('th', { scope: 'col' }, title)))),
    h('tbody', {}, blocks.map((b) => h('tr', {}, h('th', { scope: 'row' }, b), GROUPS.map(([group]) => cells[group](b)))))];
}

/** Returns {element, show(epoch)}. show draws one item of `epochs` of an angle answer. Blocks are
 * columns if the page is wide enough, else rows. */
export function heatMap(signal) {
  const element = h('div.heatmap');
  let shown = null;
  let across = null;

  function draw() {
    if (!shown) return;
    const by = Object.fromEntries(GROUPS.map(([group]) => [group, shown.layers.filter((l) => l.group === group)]));
    const blocks = [...new Set(shown.layers.map((l) => l.block))].sort((a, b) => a - b);
    const cells = Object.fromEntries(GROUPS.map(([group]) => {
      const span = range(by[group]);
      return [group, (b) => paintedCell(by[group].find((l) => l.block === b), span)];
    }));
    across = element.clientWidth >= LABEL_WIDTH + CELL_WIDTH * blocks.length;
    fill(element,
      h(across ? 'table.heat-table.across' : 'table.heat-table', {},
        h('caption', {}, `Angle of every layer after epoch ${shown.epoch}, in degrees. #1 turned most in its group.`),
        across ? wide(blocks, cells) : tall(blocks, cells)),
      h('p.legends', {}, GROUPS.map(([group, title]) => legend(group, title, by[group]))));
  }

  const watcher = new ResizeObserver(() => {
    if (!shown) return;
    const blocks = new Set(shown.layers.map((l) => l.block)).size;
    if ((element.clientWidth >= LABEL_WIDTH + CELL_WIDTH * blocks) !== across) draw();
  });
  watcher.observe(element);
  signal.addEventListener('abort', () => watcher.disconnect());
  onTheme(signal, draw);
  return { element, show(epoch) { shown = epoch; draw(); } };
}
