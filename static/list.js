// A paginated list of the service. Rows stay in place while the list refreshes itself. "Show more"
// loads the next page.
import { get, query, connection, Problem } from './api.js';
import { h, fill, problemBox } from './dom.js';

const PAGE = 50;

/**
 * Draws GET `path` into a table. columns: [{title, label?, class?}]; row(item) gives a <tr>;
 * empty() what to show for an empty list; interval(items) the milliseconds to the next refresh. The
 * list lives until `signal` is aborted.
 */
export function pagedTable({ path, caption, columns, row, empty, interval, signal }) {
  const body = h('tbody');
  const table = h('table.table.cards', {}, h('caption.visually-hidden', {}, caption),
    h('thead', {}, h('tr', {}, columns.map((c) => h('th', { scope: 'col', class: c.class }, c.title)))), body);
  const more = h('button.button', { type: 'button', hidden: true, on: { click: showMore } }, 'Show more');
  const root = h('div.stack', {}, h('p.loading', {}, 'Loading…'));
  const rows = new Map();
  let pages = 1;
  let timer = null;
  let turn = 0;

  async function fetchPages() {
    const items = [];
    let next = null;
    for (let page = 0; page < pages; page += 1) {
      const answer = await get(query(path, { limit: PAGE, after: next }), { signal });
      items.push(...answer.items);
      next = answer.next;
      if (!next) break;
    }
    return { items, next };
  }

  async function refresh() {
    clearTimeout(timer);
    turn += 1;
    const mine = turn;
    let wait = 5000;
    try {
      const { items, next } = await fetchPages();
      if (mine !== turn || signal.aborted) return;
      draw(items, next);
      wait = interval(items);
    } catch (error) {
      if (signal.aborted || mine !== turn) return;
      if (!(error instanceof Problem)) throw error;
      // Keep the old rows while the service does not answer: the banner says so.
      if (error.status !== 0 || rows.size === 0) fill(root, problemBox(error, refresh));
    }
    if (!signal.aborted) timer = setTimeout(() => (document.hidden ? onShown() : refresh()), wait);
  }

  // A hidden tab sends no requests.
  function onShown() {
    document.addEventListener('visibilitychange', refresh, { once: true, signal });
  }

  function draw(items, next) {
    if (!items.length) { rows.clear(); fill(root, empty()); return; }
    const order = items.map((item) => {
      const state = JSON.stringify(item);
      const old = rows.get(item.id);
      if (old?.state === state) return old.node;
      const node = row(item);
      node.querySelectorAll('td').forEach((cell, i) => { cell.dataset.label = columns[i].title; });
      if (old?.node.contains(document.activeElement)) queueMicrotask(() => node.querySelector('a, button')?.focus());
      rows.set(item.id, { state, node });
      return node;
    });
    const same = order.length === body.children.length && order.every((node, i) => body.children[i] === node);
    if (!same) body.replaceChildren(...order);
    more.hidden = !next;
    if (!table.isConnected || root.firstChild !== table) fill(root, table, more);
  }

  async function showMore() {
    const last = body.lastElementChild;
    pages += 1;
    more.disabled = true;
    await refresh();
    more.disabled = false;
    last?.nextElementSibling?.querySelector('a')?.focus();
  }

  signal.addEventListener('abort', () => clearTimeout(timer));
  connection.addEventListener('online', refresh, { signal });
  refresh();
  return {
    element: root,
    /** Draws all rows again, after a change of something that they show beside their item. */
    redraw() { rows.clear(); return refresh(); },
  };
}
