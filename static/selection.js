// The layers that a guided run chose, and their angles in the probe or in the run of `from`.
import { h, section } from './dom.js';
import { degrees, percent } from './format.js';
import { GROUPS, heatMap } from './heatmap.js';

function chosen(selection) {
  return GROUPS.map(([group, title]) => {
    const layers = selection.layers.filter((l) => l.group === group);
    return layers.length ? h('div', {}, h('h3', {}, title), h('ul.chosen', {}, layers.map((l) => h('li', {}, h(`span.tag.${group}`, {}, `block ${l.block}`), ` ${degrees(l.degrees)}`)))) : null;
  });
}

function trials(selection) {
  if (!selection.trials?.length) return null;
  return h('p.muted', {}, 'Results of the short trials on the same split: ', selection.trials.map((t) => `${t.order} ${percent(t.val_accuracy)}`).join(', '), '.');
}

/** Returns {element, show(selection), probe(epoch)}. The element is hidden until layers are chosen.
 * probe takes the angles of one epoch of the probe. */
export function selectionPanel(signal) {
  const text = h('p');
  const lists = h('div.halves');
  const map = heatMap(signal);
  const angles = h('details', { hidden: true }, h('summary', {}, 'Angles of the probe'), map.element);
  const tried = h('div');
  const element = section('Chosen layers', { id: 'selection', hidden: true }, text, lists, tried, angles);
  return {
    element,
    show(selection) {
      if (!selection) return;
      element.hidden = false;
      const from = selection.from ? ['by the angles of ', h('a', { href: `#/runs/${encodeURIComponent(selection.from)}` }, 'another run')] : ['by the angles of the probe'];
      text.replaceChildren(`The ${selection.attention_layers} attention and ${selection.ffn_layers} FFN layers with the ${selection.order} angles, `, ...from, '.');
      lists.replaceChildren(...chosen(selection).filter(Boolean));
      tried.replaceChildren(...[trials(selection)].filter(Boolean));
    },
    probe(epoch) {
      angles.hidden = false;
      map.show(epoch);
    },
  };
}
