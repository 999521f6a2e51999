// The list of sweeps, which compare several strategies and seeds on the same task.
import { h, command } from '../dom.js';
import { count, when } from '../format.js';
import { pagedTable } from '../list.js';
import { isActive, pill } from '../status.js';

const COLUMNS = [{ title: 'Name' }, { title: 'Status' }, { title: 'Strategies', class: 'num' }, { title: 'Seeds', class: 'num' }, { title: 'Done', class: 'num' }, { title: 'Created' }];

export const runsOf = (sweep) => Object.values(sweep.counts).reduce((sum, n) => sum + n, 0);
export const doneOf = (sweep) => runsOf(sweep) - (sweep.counts.queued ?? 0) - (sweep.counts.running ?? 0);

function row(sweep) {
  return h('tr', {}, h('td.name', {}, h('a.ellipsis', { href: `#/sweeps/${encodeURIComponent(sweep.id)}` }, sweep.name || sweep.id)), h('td', {}, pill(sweep.status)),
    h('td.num', {}, count(sweep.strategies.length)), h('td.num', {}, count(sweep.seeds.length)), h('td.num', {}, `${count(doneOf(sweep))} of ${count(runsOf(sweep))}`),
    h('td', {}, when(sweep.created_at)));
}

function empty() {
  return h('div.empty', {}, h('h2', {}, 'No sweeps yet'),
    h('p', {}, 'A sweep runs several strategies on the same data, each with every seed, and puts accuracy, cost and spread side by side.'),
    h('a.button.primary', { href: '#/sweeps/new' }, 'Start a sweep'),
    h('p.muted', {}, 'Or from a shell:'),
    command(`curl ${location.origin}/v1/sweeps -H 'Content-Type: application/json' \\\n  -d '{"model":"vit","dataset":"photos","strategies":["full","attention","ffn"],"seeds":[0,1,2]}'`));
}

export async function sweepsPage({ signal, setTitle }) {
  setTitle('Sweeps');
  const list = pagedTable({ path: '/v1/sweeps', caption: 'Sweeps', columns: COLUMNS, row, empty, signal, interval: (items) => (items.some((s) => isActive(s.status)) ? 2500 : 10000) });
  return [
    h('div.head', {}, h('div', {}, h('h1', { tabindex: '-1' }, 'Sweeps'), h('p.sub', {}, 'Strategies compared on one model and one data set, over seeds.')),
      h('a.button.primary', { href: '#/sweeps/new' }, 'New sweep')),
    h('div.card', {}, list.element),
  ];
}
