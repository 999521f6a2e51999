// The only place that talks to the service: requests, uploads with progress, live events, and
// whether the service answers.

/** A failed request: the fields of problem+json. If there was no answer, a description of the
 * reason, and status is 0. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || `HTTP status ${status}`);
    this.status = status;
    this.title = body.title || (status ? `The service answered with status ${status}` : 'The service does not answer');
    this.detail = body.detail || '';
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.rejected = Array.isArray(body.rejected) ? body.rejected : [];
    this.rejectedCount = body.rejected_count;
  }
}

// --- whether the service answers -----------------------------------------------------------------

export const connection = new EventTarget();
let online = true;
const PING_MS = 2000;
const HEARTBEAT_MS = 15000;

let nextPing = null;

function setOnline(now) {
  clearTimeout(nextPing);
  if (!now) nextPing = setTimeout(ping, PING_MS);
  if (now === online) return;
  online = now;
  connection.dispatchEvent(new Event(now ? 'online' : 'offline'));
}

/** Asks whether the service answers; if not, asks again every two seconds. */
async function ping() {
  try {
    const reply = await fetch('/healthz', { cache: 'no-store' });
    if (reply.ok) { setOnline(true); return; }
  } catch { /* no answer */ }
  setOnline(false);
}

// An idle page sends no requests, and would not notice that the service is down.
setInterval(() => { if (online && !document.hidden) ping(); }, HEARTBEAT_MS);

// --- requests ------------------------------------------------------------------------------------

export const enc = encodeURIComponent;

export function query(path, params) {
  const given = Object.entries(params).filter(([, v]) => v !== null && v !== undefined && v !== '');
  return given.length ? `${path}${path.includes('?') ? '&' : '?'}${given.map(([k, v]) => `${k}=${enc(v)}`).join('&')}` : path;
}

async function send(method, path, { body, json, headers = {}, signal } = {}) {
  const init = { method, signal, headers: { ...headers }, body };
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers['Content-Type'] = 'application/json';
  }
  let reply;
  try {
    reply = await fetch(path, init);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    setOnline(false);
    throw new Problem(0, { detail: 'The connection failed. The page continues by itself when the service answers again.' });
  }
  setOnline(true);
  if (!reply.ok) throw new Problem(reply.status, parse(await reply.text()));
  return reply;
}

function parse(text) {
  try { return JSON.parse(text) ?? {}; } catch { return {}; }
}

export const get = async (path, options) => (await send('GET', path, options)).json();
export const getText = async (path, options) => (await send('GET', path, options)).text();
export const post = async (path, options) => (await send('POST', path, options)).json();
export const patch = async (path, json) => (await send('PATCH', path, { json })).json();
export const remove = async (path) => (await send('DELETE', path)).json();

/** All items of a paginated list, up to the number that a menu can show. */
export async function getAll(path, { signal, most = 1000 } = {}) {
  const items = [];
  let after = null;
  do {
    const page = await get(query(path, { limit: 100, after }), { signal });
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < most);
  return items;
}

/** A resource, or null if it does not exist. */
export async function getOrNull(path, options) {
  try {
    return await get(path, options);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/** A key with which a repeated POST has no second effect. Unlike randomUUID, it needs no secure
 * context. */
export function idempotencyKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

// --- uploads -------------------------------------------------------------------------------------

/** Sends a file or a form. Uses XMLHttpRequest, because fetch reports no upload progress. Resolves
 * to the created resource. */
export function upload(path, body, { onProgress, signal, type } = {}) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open('POST', path);
    if (type) xhr.setRequestHeader('Content-Type', type);
    xhr.upload.addEventListener('progress', (e) => onProgress?.(e.loaded, e.total));
    xhr.addEventListener('load', () => {
      setOnline(true);
      const reply = parse(xhr.responseText);
      if (xhr.status >= 200 && xhr.status < 300) resolve(reply);
      else reject(new Problem(xhr.status, reply));
    });
    xhr.addEventListener('error', () => reject(new Problem(0, {
      title: 'The upload was interrupted',
      detail: 'The service closed the connection before the upload was complete. Perhaps it was stopped, or the file is larger than it accepts.',
    })));
    xhr.addEventListener('abort', () => reject(new DOMException('stopped', 'AbortError')));
    signal?.addEventListener('abort', () => xhr.abort());
    xhr.send(body);
  });
}

// --- live events ---------------------------------------------------------------------------------

const EVENT_TYPES = ['status', 'step', 'epoch', 'angles', 'selection', 'log'];
const FINAL = ['succeeded', 'failed', 'cancelled'];
const RETRY_MS = 3000;

export const isFinal = (status) => FINAL.includes(status);

/**
 * Follows a run's events until its final status. After a lost connection the browser resumes by
 * Last-Event-ID. If the browser gives up, a new stream starts, and `onRestart` is called because
 * all past events come again. `onEnd` is called after the final status.
 */
export function followRun(id, { onEvent, onRestart, onEnd, signal }) {
  let source = null;
  let timer = null;
  let finalSeen = false;
  const stop = () => { clearTimeout(timer); source?.close(); };
  const open = () => {
    onRestart();
    source = new EventSource(`/v1/runs/${enc(id)}/events`);
    for (const type of EVENT_TYPES) {
      source.addEventListener(type, (message) => {
        const data = parse(message.data);
        onEvent(type, data);
        // A resumed run has an earlier final status in its past events. Only the last one counts.
        if (type === 'status') finalSeen = isFinal(data.status);
      });
    }
    source.addEventListener('open', () => setOnline(true));
    source.addEventListener('error', () => {
      if (finalSeen) { source.close(); onEnd(); return; }
      if (online) ping();
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    });
  };
  signal.addEventListener('abort', stop);
  open();
}
