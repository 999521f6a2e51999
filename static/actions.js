// Actions of pages on a resource: confirm before deleting it, show why a request failed, poll it
// while it is busy.
import { get, remove, Problem } from './api.js';
import { h, fill, confirmDialog, problemBox, toast } from './dom.js';
import { bytes } from './format.js';
import { isActive } from './status.js';

const POLL_MS = 1000;

/** Runs an action. If the service refuses it, shows the reason in `place`. */
export async function attempt(place, action) {
  fill(place);
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    fill(place, problemBox(error));
  }
}

/** Asks the user, deletes `path`, says how many bytes are free again and opens the page `back`. */
export async function destroy({ what, name, text, path, back, place }) {
  if (!await confirmDialog({ title: `Delete this ${what}?`, text, action: 'Delete' })) return;
  await attempt(place, async () => {
    const { freed_bytes: freed } = await remove(path);
    toast(`${name} is deleted; ${bytes(freed)} are free again.`);
    location.hash = back;
  });
}

export const button = (title, onClick, kind = '') => h(`button.button${kind}`, { type: 'button', on: { click: onClick } }, title);

/** Polls `path` while the resource is queued or running; draw(resource) gets every answer. Returns
 * a function that polls at once. */
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

/** Downloads a text as a file. */
export function saveText(name, text) {
  h('a', { href: `data:text/csv;charset=utf-8,${encodeURIComponent(text)}`, download: name }).click();
}
