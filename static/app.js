// The entry point: maps addresses (#/...) to pages, and draws the banner for a lost connection and
// the footer.
import { connection, get } from './api.js';
import { h, fill, problemBox, announce } from './dom.js';
import { bytes, plural, refreshTimes } from './format.js';
import { datasetsPage } from './pages/datasets.js';
import { datasetPage } from './pages/dataset.js';
import { modelsPage } from './pages/models.js';
import { modelPage } from './pages/model.js';
import { runsPage } from './pages/runs.js';
import { newRunPage } from './pages/run_new.js';
import { runPage } from './pages/run.js';
import { comparePage } from './pages/compare.js';
import { sweepsPage } from './pages/sweeps.js';
import { newSweepPage } from './pages/sweep_new.js';
import { sweepPage } from './pages/sweep.js';
import { soupsPage } from './pages/soups.js';
import { soupPage } from './pages/soup.js';
import { evaluationsPage } from './pages/evaluations.js';
import { evaluationPage } from './pages/evaluation.js';

const ROUTES = [
  [/^\/datasets$/, datasetsPage],
  [/^\/datasets\/([^/]+)$/, datasetPage],
  [/^\/models$/, modelsPage],
  [/^\/models\/([^/]+)$/, modelPage],
  [/^\/runs$/, runsPage],
  [/^\/runs\/new$/, newRunPage],
  [/^\/runs\/([^/]+)$/, runPage],
  [/^\/compare$/, comparePage],
  [/^\/sweeps$/, sweepsPage],
  [/^\/sweeps\/new$/, newSweepPage],
  [/^\/sweeps\/([^/]+)$/, sweepPage],
  [/^\/soups$/, soupsPage],
  [/^\/soups\/([^/]+)$/, soupPage],
  [/^\/evaluations$/, evaluationsPage],
  [/^\/evaluations\/([^/]+)$/, evaluationPage],
];

const main = document.getElementById('main');
let leaving = null;
let failed = false;

/** The part of the address after '#', split into path and parameters. */
function address() {
  const [path, search] = location.hash.replace(/^#/, '').split('?');
  return { path: path || '/datasets', params: new URLSearchParams(search ?? '') };
}

function setTitle(title) {
  document.title = `${title} · gonio`;
}

async function show({ first = false } = {}) {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  failed = false;
  const { path, params } = address();
  const section = path.split('/')[1];
  for (const link of document.querySelectorAll('nav [data-section]')) {
    if (link.dataset.section === section) {
      link.setAttribute('aria-current', 'page');
      link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    } else {
      link.removeAttribute('aria-current');
    }
  }
  fill(main, h('p.loading', {}, 'Loading…'));
  const route = ROUTES.find(([pattern]) => pattern.test(path));
  try {
    if (!route) throw Object.assign(new Error(), { title: 'This page does not exist', detail: `The dashboard has no page ${path}.` });
    const id = decodeURIComponent(route[0].exec(path)[1] ?? '');
    const content = await route[1]({ id, params, signal, setTitle });
    if (signal.aborted) return;
    fill(main, content);
  } catch (error) {
    if (signal.aborted) return;
    failed = true;
    setTitle('Not available');
    if (!error.title) error.title = 'The page could not be shown';
    if (!error.detail) error.detail = error.message;
    const lost = error.status === 404 || !route;
    fill(main, h('h1', { tabindex: '-1' }, lost ? 'Not found' : 'Not available'), problemBox(error, lost ? null : () => show()));
  }
  if (first) return;
  window.scrollTo(0, 0);
  main.querySelector('h1')?.focus({ preventScroll: true });
  announce(document.title);
}

function watchConnection() {
  const banner = document.getElementById('offline');
  connection.addEventListener('offline', () => {
    banner.hidden = false;
    banner.textContent = `gonio at ${location.host} does not answer. Trying again every two seconds…`;
  });
  connection.addEventListener('online', () => {
    banner.hidden = true;
    announce('gonio answers again');
    if (failed) show();
  });
}

async function about() {
  try {
    const info = await get('/v1/info');
    const device = info.device ?? {};
    const parts = [`gonio ${info.version}`, device.name || device.backend, device.threads ? plural(device.threads, 'thread') : '',
      device.memory_bytes ? bytes(device.memory_bytes) : ''];
    document.getElementById('about').textContent = parts.filter(Boolean).join(' · ');
    const noGpu = document.getElementById('no-gpu');
    noGpu.textContent = device.remark ? `Computes on the CPU: ${device.remark}` : '';
    noGpu.hidden = !device.remark;
  } catch {
    connection.addEventListener('online', about, { once: true });
  }
}

// The address after '#' names the page, so the skip link must not change it.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
// Otherwise a file dropped beside a drop zone makes the browser leave the dashboard.
for (const type of ['dragover', 'drop']) window.addEventListener(type, (event) => event.preventDefault());
window.addEventListener('hashchange', () => show());
setInterval(refreshTimes, 20000);
watchConnection();
about();
show({ first: true });
