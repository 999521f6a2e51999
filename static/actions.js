// What pages do with a thing of the service: ask before it is deleted, show why something was refused, ask again while it is busy.
import { get, remove, Problem } from './api.js';
import { h, fill, confirmDialog, problemBox, toast } from './dom.js';
import { bytes } from './format.js';
import { isActive } from './status.js';

const POLL_MS = 1000;

/** Does something that the service may refuse, and shows its reason in `place`. */
export async function attempt(place, action) {
  fill(place);
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    fill(place, problemBox(error));
  }
}

/** Asks, deletes `path`, says how many bytes are free again and goes to the page `back`. */
export async function destroy({ what, name, text, path, back, place }) {
  if (!await confirmDialog({ title: `Delete this ${what}?`, text, action: 'Delete' })) return;
  await attempt(place, async () => {
    const { freed_bytes: freed } = await remove(path);
    toast(`${name} is deleted; ${bytes(freed)} are free again.`);
    location.hash = back;
  });
}

export const button = (title, onClick, kind = '') => h(`button.button${kind}`, { type: 'button', on: { click: onClick } }, title);

/** Asks for `path` again and again while the thing is queued or running; draw(thing) gets every answer. Returns a function that asks at once. */
export function follow(path, first, draw, signal) {
  let timer = null;
  const again = async () => {
    try {
      const thing = await get(path, { signal });
      draw(thing);
      next(thing);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      if (error.status !== 404) timer = setTimeout(again, POLL_MS);
    }
  };
  const next = (thing) => {
    clearTimeout(timer);
    if (isActive(thing.status) && !signal.aborted) timer = setTimeout(again, POLL_MS);
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  draw(first);
  next(first);
  return again;
}

/** Hands a text to the browser as a file. */
export function saveText(name, text) {
  h('a', { href: `data:text/csv;charset=utf-8,${encodeURIComponent(text)}`, download: name }).click();
}
