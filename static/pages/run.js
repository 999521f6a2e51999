// One run: live curves, progress, result, angles, log, settings, and classifying with its model
// after it succeeded.
import { attempt, button, destroy } from '../actions.js';
import { enc, followRun, get, getOrNull, getText, isFinal, post, query, Problem } from '../api.js';
import { anglesPanel } from '../angles.js';
import { classifyPanel } from '../classify.js';
import { learningCurves } from '../curves.js';
import { h, fill, announce, facts, problemBox, section, setText } from '../dom.js';
import { bytes, count, digits, duration, percent, strategyName, when } from '../format.js';
import { selectionPanel } from '../selection.js';
import { isActive, pill, progressText, share } from '../status.js';

const POLL_MS = 3000;
const SOON_MS = 150;
const LOG_LINES = 500;
const LOG_MS = 100;
// Shown elsewhere on the page, or not part of the request.
const NOT_SETTINGS = ['id', 'name', 'created_at', 'started_at', 'finished_at', 'status', 'attempts', 'progress', 'tuned_layers', 'tuned_parameters',
  'result', 'error', 'model', 'dataset', 'strategy', 'flops', 'selection', 'sweep', 'total_parameters', 'prefix_stage'];

function settings(run) {
  const text = (v) => (v !== null && typeof v === 'object' ? JSON.stringify(v) : String(v));
  const pairs = Object.entries(run).filter(([key, v]) => !NOT_SETTINGS.includes(key) && v !== null);
  return section('Settings', {}, facts([...pairs.map(([key, v]) => [key.replaceAll('_', ' '), text(v)]), ['id', h('code', {}, run.id)]]),
    run.tuned_layers?.length ? h('details', {}, h('summary', {}, `Tuned layers: ${run.tuned_layers.length}`), h('ul.mono.plain', {}, run.tuned_layers.map((l) => h('li', {}, l)))) : null);
}

// The curves show the run itself, not the probe and the trials before the choice of layers.
const isCurve = (of) => !of?.phase || of.phase === 'tuning';

/** The last lines of the log. Shows the end unless the user scrolled up. */
function logPanel(id, signal) {
  const pre = h('pre.log', { tabindex: '0', 'aria-label': 'Log' });
  let lines = [];
  let timer = null;
  // Many past lines arrive at once.
  const soon = () => { timer ??= setTimeout(show, LOG_MS); };
  const show = () => {
    timer = null;
    const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
    setText(pre, lines.slice(-LOG_LINES).join('\n'));
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  return {
    element: section('Log', {}, pre, h('p.small', {}, h('a', { href: `/v1/runs/${enc(id)}/log`, target: '_blank', rel: 'noopener' }, 'The whole log'))),
    add(more) {
      lines.push(...more.slice(-LOG_LINES));
      if (lines.length > 2 * LOG_LINES) lines = lines.slice(-LOG_LINES);
      soon();
    },
    last: () => lines.at(-1) ?? '',
    clear() { lines = []; soon(); },
  };
}

function resultPanel(run) {
  const r = run.result;
  if (!r) return null;
  const figure = (value, title) => h('div.figure', {}, h('span.big', {}, value), h('span.muted', {}, title));
  return section('Result', { class: 'result-card' },
    h('div.figures', {}, figure(percent(r.val_accuracy), 'validation accuracy'), figure(percent(r.val_macro_f1), 'macro F1'), figure(duration(r.seconds), 'training time'),
      figure(count(run.tuned_parameters), 'tuned parameters')),
    facts([['Validation loss', digits(r.val_loss)], ['Training loss', digits(r.train_loss)], ['Best epoch', count(r.best_epoch)], ['Peak memory', bytes(r.peak_memory_bytes)]]),
    h('p', {}, r.model ? h('a', { href: `#/models/${enc(r.model)}` }, 'Open the tuned model') : 'The tuned model was deleted.'));
}

function errorPanel(run) {
  if (run.status !== 'failed' || !run.error) return null;
  return problemBox({ title: `The run failed: ${run.error.type}`, detail: run.error.detail });
}

/** Loads a finished run in three requests instead of replaying its events. */
async function loadPast(run, { curves, angles, chosen, log, signal }) {
  const base = `/v1/runs/${enc(run.id)}`;
  const probed = run.selection && !run.selection.from;
  const [metrics, turned, probe, text] = await Promise.all([getOrNull(`${base}/metrics`, { signal }), getOrNull(query(`${base}/angles`, { epoch: 'all' }), { signal }),
    probed ? getOrNull(query(`${base}/angles`, { phase: 'probe' }), { signal }) : null, getText(`${base}/log`, { signal }).catch(() => '')]);
  metrics?.steps?.forEach(curves.step);
  metrics?.epochs?.forEach(curves.epoch);
  turned?.epochs?.forEach(angles.add);
  if (probe?.epochs?.length) chosen.probe(probe.epochs.at(-1));
  log.add(text.split('\n').filter(Boolean));
}

function headLine(run, model, set) {
  const link = (thing, base) => (thing ? h('a', { href: `${base}/${enc(thing.id)}` }, thing.name || thing.id) : 'deleted');
  return h('p.sub', {}, h('strong', {}, strategyName(run.strategy)), ' · ', link(model, '#/models'), ' on ', link(set, '#/datasets'),
    run.sweep ? [' · in ', h('a', { href: `#/sweeps/${enc(run.sweep)}` }, 'a sweep')] : null, ' · created ', when(run.created_at));
}

export async function runPage({ id, signal, setTitle }) {
  let run = await get(`/v1/runs/${enc(id)}`, { signal });
  const [model, set] = await Promise.all([getOrNull(`/v1/models/${enc(run.model)}`, { signal }), getOrNull(`/v1/datasets/${enc(run.dataset)}`, { signal })]);
  const name = run.name || run.id;
  setTitle(name);
  const path = `/v1/runs/${enc(run.id)}`;
  const trouble = h('div');
  const state = h('span', { id: 'run-status', role: 'status' });
  const actions = h('div.row');
  const bar = h('progress', { max: 1, 'aria-label': 'Progress' });
  const text = h('p.muted', { id: 'run-progress' });
  const progress = h('section.card.progress-card', { 'aria-label': 'Progress' }, bar, text);
  const outcome = h('div.stack', { hidden: true });
  const curves = learningCurves({ epochs: run.epochs, signal });
  const angles = anglesPanel(signal);
  const chosen = selectionPanel(signal);
  const log = logPanel(run.id, signal);
  let shownStatus = null;
  let following = false;
  let timer = null;
  const life = new AbortController();

  const act = (verb) => attempt(trouble, async () => {
    run = await post(`${path}/${verb}`, { signal });
    drawStatus();
    clearTimeout(timer);
    timer = setTimeout(refresh, POLL_MS / 3);
  });

  const destroyRun = () => destroy({
    what: 'run', name, text: `${name} with its curves, angles and checkpoints is removed from the disk.`, path, back: '#/runs', place: trouble,
  });

  function drawActions() {
    fill(actions,
      isActive(run.status) ? button('Cancel', () => act('cancel'), '.danger') : null,
      run.status === 'failed' || run.status === 'cancelled' ? button('Resume', () => act('resume'), '.primary') : null,
      h('a.button', { href: `#/runs/new?from=${enc(run.id)}` }, 'Run again with changes'),
      run.status === 'succeeded' && !run.selection ? h('a.button', { href: `#/runs/new?angles=${enc(run.id)}` }, 'Tune by its angles') : null,
      isActive(run.status) ? null : button('Delete', destroyRun, '.danger'));
  }

  function drawStatus() {
    bar.value = share(run.progress);
    chosen.show(run.selection);
    if (isCurve(run.progress)) curves.scale(run.progress?.steps / run.progress?.epochs);
    // Before its first step a run prepares; its log says what it does.
    setText(text, [progressText(run), run.status === 'running' && !run.progress?.step ? log.last() : ''].filter(Boolean).join(' · '));
    progress.hidden = run.status === 'succeeded';
    const now = `${run.status} ${run.result ? 'with result' : ''} ${run.error?.type ?? ''}`;
    if (now === shownStatus) return;
    const first = shownStatus === null;
    shownStatus = now;
    fill(state, pill(run.status));
    drawActions();
    const parts = [errorPanel(run), resultPanel(run), run.status === 'succeeded' && run.result?.model ? classifyPanel(run.result.model, signal) : null].filter(Boolean);
    outcome.hidden = parts.length === 0;
    fill(outcome, parts);
    if (!first) announce(`The run is ${run.status}`);
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      run = await get(path, { signal });
      drawStatus();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      if (error.status === 404) {
        life.abort();
        fill(trouble, problemBox({ title: 'This run was deleted', detail: '' }));
        return;
      }
    }
    if (!isActive(run.status) || signal.aborted) return;
    if (!following) follow();
    timer = setTimeout(refresh, POLL_MS);
  }

  // Past states are replayed first, so only the resource has the current one. Request it once for
  // many events.
  function onStatus(data) {
    if (data.status !== run.status) {
      clearTimeout(timer);
      timer = setTimeout(refresh, SOON_MS);
    } else if (data.progress) {
      advance(data.progress);
    }
  }

  // Past steps are replayed first: only newer steps may move the bar. A later phase counts its
  // steps from 0 again.
  function advance(news) {
    if ((news.phase ?? null) === (run.progress?.phase ?? null) && !(news.step > (run.progress?.step ?? 0))) return;
    const known = ['phase', 'step', 'steps', 'epoch', 'epochs', 'images_per_second', 'eta_seconds'].filter((key) => ['number', 'string'].includes(typeof news[key]));
    run.progress = { ...run.progress, ...Object.fromEntries(known.map((key) => [key, news[key]])) };
    drawStatus();
  }

  function onEvent(type, data) {
    if (type === 'step') {
      if (isCurve(data)) curves.step(data);
      if (run.status === 'running') advance(data);
    } else if (type === 'log') {
      log.add([data.line]);
      if (!run.progress?.step) drawStatus();
    } else if (type === 'angles' && data.phase === 'probe') {
      chosen.probe(data);
    } else if (type === 'epoch' || type === 'angles') {
      if (isCurve(data)) (type === 'epoch' ? curves.epoch : angles.add)(data);
    } else if (type === 'selection') chosen.show(data);
    else if (type === 'status') onStatus(data);
  }

  function follow() {
    following = true;
    followRun(run.id, { signal: life.signal, onEvent, onEnd: () => { following = false; refresh(); }, onRestart() { curves.clear(); angles.clear(); log.clear(); } });
  }

  signal.addEventListener('abort', () => { clearTimeout(timer); life.abort(); });
  drawStatus();
  if (isFinal(run.status)) await loadPast(run, { curves, angles, chosen, log, signal });
  else {
    follow();
    timer = setTimeout(refresh, POLL_MS);
  }
  return [
    h('div.head', {}, h('div', {}, h('p.crumb', {}, h('a', { href: '#/runs' }, 'Runs')), h('div.row', {}, h('h1', { tabindex: '-1' }, name), state), headLine(run, model, set)), actions),
    trouble, progress, outcome, chosen.element, curves.element, angles.element,
    h('div.halves', {}, settings(run), log.element),
  ];
}
