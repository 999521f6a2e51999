// One soup: its progress, its ingredients with their weights in the result, and the resulting
// model.
import { attempt, button, destroy, follow } from '../actions.js';
import { enc, get, getAll, post } from '../api.js';
import { h, fill, announce, facts, problemBox, section, setText } from '../dom.js';
import { modelTitles, percent, plural, when } from '../format.js';
import { isActive, pill, share } from '../status.js';

function ingredients(soup, titles) {
  const greedy = soup.method === 'greedy';
  const rows = soup.ingredients.map((each) => h('tr', {}, h('th.name', { scope: 'row' }, h('a', { href: `#/models/${enc(each.model)}` }, titles.get(each.model) ?? each.model)),
    h('td.num', {}, percent(each.val_accuracy)), greedy ? h('td', {}, each.kept === null || each.kept === undefined ? '–' : each.kept ? 'kept' : 'left out') : null,
    h('td.num', {}, typeof each.weight === 'number' ? percent(each.weight) : '–')));
  return h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Ingredients' }, h('table.table.compact', {}, h('caption.visually-hidden', {}, 'Ingredients'),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Model'), h('th.num', { scope: 'col' }, 'Val accuracy'), greedy ? h('th', { scope: 'col' }, 'In the soup') : null, h('th.num', { scope: 'col' }, 'Share'))),
    h('tbody', {}, rows)));
}

function result(soup) {
  const best = Math.max(...soup.ingredients.map((i) => i.val_accuracy ?? -1));
  const figure = (value, title) => h('div.figure', {}, h('span.big', {}, value), h('span.muted', {}, title));
  return section('Result', { class: 'result-card' },
    h('div.figures', {}, typeof soup.result.val_accuracy === 'number' ? [figure(percent(soup.result.val_accuracy), 'validation accuracy'), figure(percent(best), 'best ingredient')] : null,
      figure(soup.ingredients.filter((i) => i.weight > 0).length, 'models blended')),
    h('p', {}, soup.result.model ? h('a', { href: `#/models/${enc(soup.result.model)}` }, 'Open the averaged model') : 'The averaged model was deleted.'));
}

export async function soupPage({ id, signal, setTitle }) {
  const first = await get(`/v1/soups/${enc(id)}`, { signal });
  const [models, runs] = await Promise.all([getAll('/v1/models', { signal }), getAll('/v1/runs?status=succeeded', { signal })]);
  const titles = modelTitles(models, runs);
  const name = first.name || first.id;
  const path = `/v1/soups/${enc(first.id)}`;
  setTitle(name);
  const trouble = h('div');
  const state = h('span', { id: 'soup-status', role: 'status' });
  const actions = h('div.row');
  const bar = h('progress', { max: 1, 'aria-label': 'Progress' });
  const text = h('p.muted');
  const progress = h('section.card.progress-card', { 'aria-label': 'Progress' }, bar, text);
  const outcome = h('div.stack');
  const list = h('div');
  let shown = null;

  function draw(soup) {
    bar.value = share(soup.progress);
    setText(text, soup.progress?.total ? `${soup.progress.done} of ${plural(soup.progress.total, 'step')}` : 'waiting for its turn');
    progress.hidden = !isActive(soup.status);
    fill(list, ingredients(soup, titles));
    if (shown === soup.status) return;
    if (shown) announce(`The soup is ${soup.status}`);
    shown = soup.status;
    fill(state, pill(soup.status));
    fill(actions, isActive(soup.status) ? button('Cancel', () => attempt(trouble, async () => { await post(`${path}/cancel`, { signal }); again(); }), '.danger')
      : button('Delete', () => destroy({ what: 'soup', name, text: `${name} is removed. Its model stays.`, path, back: '#/soups', place: trouble }), '.danger'));
    fill(outcome, soup.error ? problemBox({ title: `The soup failed: ${soup.error.type}`, detail: soup.error.detail }) : null, soup.result ? result(soup) : null);
  }

  const again = follow(path, first, draw, signal);
  return [
    h('div.head', {}, h('div', {}, h('p.crumb', {}, h('a', { href: '#/soups' }, 'Soups')), h('div.row', {}, h('h1', { tabindex: '-1' }, name), state),
      h('p.sub', {}, `${first.method} soup of ${plural(first.models.length, 'model')} · created `, when(first.created_at))), actions),
    trouble, progress, outcome, section('Ingredients', {}, list), section('About', {}, facts([['Id', h('code', {}, first.id)]])),
  ];
}
