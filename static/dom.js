// Builds the page. All text from outside (names, paths, messages) enters the document here, as a
// text node or as an attribute value. The dashboard never parses a string as HTML.

/**
 * h('a.button', {href: '#/runs'}, 'Runs'): an element. Properties: `on` maps events to listeners,
 * `data` to data-* attributes, false/null/undefined leave an attribute out, true sets it empty.
 * Children: nodes, strings, numbers, arrays; null and false are skipped.
 */
export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(' ');
  for (const [key, value] of Object.entries(props ?? {})) setProperty(node, key, value);
  node.append(...flatten(children));
  return node;
}

function setProperty(node, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key === 'on') for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
  else if (key === 'data') Object.assign(node.dataset, value);
  else if (key === 'class') node.classList.add(...value.split(' ').filter(Boolean));
  else if (key === 'value' || key === 'checked' || key === 'selected' || key === 'indeterminate') node[key] = value;
  else node.setAttribute(key, value === true ? '' : String(value));
}

function flatten(children) {
  return children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false)
    .map((c) => (c instanceof Node ? c : document.createTextNode(String(c))));
}

/** Replaces the contents of a node. */
export function fill(node, ...children) {
  node.replaceChildren(...flatten(children));
  return node;
}

/** Sets text only if it differs, so that a screen reader does not repeat the same status. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let nextId = 0;
export const uniqueId = (prefix) => `${prefix}-${(nextId += 1)}`;

/** Speaks to screen readers only. */
export function announce(text) {
  setText(document.getElementById('announce'), text);
}

/** A short message at the foot of the page, for six seconds. */
export function toast(text) {
  const node = h('div.toast', {}, text);
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), 6000);
}

/** Asks before something that cannot be undone; resolves to true when the user agrees. */
export function confirmDialog({ title, text, action }) {
  return new Promise((resolve) => {
    const cancel = h('button.button', { type: 'button', on: { click: () => dialog.close('no') } }, 'Keep');
    const agree = h('button.button.danger', { type: 'button', on: { click: () => dialog.close('yes') } }, action);
    const id = uniqueId('dialog');
    const dialog = h('dialog.dialog', { 'aria-labelledby': id }, h('h2', { id }, title), h('p', {}, text),
      h('div.row.end', {}, cancel, agree));
    dialog.addEventListener('close', () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); });
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  });
}

/** A command line, with a button that copies it. */
export function command(text) {
  const copy = h('button.copy', { type: 'button' }, 'Copy');
  copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = 'Copied';
    } catch {
      copy.textContent = 'Select it';
    }
    setTimeout(() => { copy.textContent = 'Copy'; }, 2000);
  });
  return h('div.command', {}, h('pre', { tabindex: '0', 'aria-label': 'Command' }, h('code', {}, text)), copy);
}

/** The box that shows a failed request: the cause, the fields, the files. */
export function problemBox(problem, retry) {
  // With a single error, the detail has the same text.
  const fields = (problem.errors ?? []).filter((e) => !problem.detail?.includes(e.detail)).map((e) => h('li', {}, e.pointer ? [h('code', {}, e.pointer), ' '] : null, e.detail));
  const rejected = problem.rejected ?? [];
  return h('div.problem', { role: 'alert' },
    h('p.problem-title', {}, problem.title || 'Something went wrong'),
    problem.detail ? h('p', {}, problem.detail) : null,
    fields.length ? h('ul', {}, fields) : null,
    rejected.length ? rejectedTable(rejected, problem.rejectedCount ?? rejected.length) : null,
    retry ? h('button.button', { type: 'button', on: { click: retry } }, 'Try again') : null);
}

/** The rejected files of an archive, with the reasons. */
export function rejectedTable(rejected, total) {
  return h('div.scroll.tall', { tabindex: '0', role: 'region', 'aria-label': 'Rejected files' },
    h('table.table.compact', {},
      h('caption', {}, total > rejected.length ? `The first ${rejected.length} of ${total} rejected files` : 'Rejected files'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'File'), h('th', { scope: 'col' }, 'Reason'))),
      h('tbody', {}, rejected.map((r) => h('tr', {}, h('td.path', {}, r.path), h('td', {}, r.reason))))));
}

/** A definition list of [term, value] pairs; pairs without a value are left out. */
export function facts(pairs, kind = 'facts') {
  return h(`dl.${kind}`, {}, pairs.filter((p) => p && p[1] !== null && p[1] !== undefined && p[1] !== '')
    .map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value))));
}

/** A titled section of a page. */
export function section(title, props, ...children) {
  const id = uniqueId('section');
  return h('section.card', { ...props, 'aria-labelledby': id }, h('h2', { id }, title), ...children);
}
