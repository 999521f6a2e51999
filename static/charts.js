// Line and scatter charts with Chart.js (a classic script, the global `Chart`), in the dashboard's
// colours. Without Chart.js the page says so, and shows only its tables.
import { h } from './dom.js';
import { digits } from './format.js';
import { colour, onTheme } from './theme.js';

const POINTS = 600;
const MOST_DOTS = 40;
// Colours for groups of points: those of the series and of the memory bar.
const PALETTE = ['--series-1', '--series-2', '--accent', '--bad', '--group-5', '--group-6', '--group-7', '--group-8'];

const tick = (value, format) => (format ? format(value) : String(Number(value.toPrecision(4))));

function axis(options) {
  return {
    type: 'linear',
    min: options.min,
    max: options.max,
    suggestedMax: options.suggestedMax,
    beginAtZero: options.zero ?? false,
    title: { display: Boolean(options.title), text: options.title, color: colour('--muted'), font: { size: 12 } },
    ticks: { color: colour('--muted'), maxTicksLimit: options.ticks ?? 6, precision: options.whole ? 0 : undefined, maxRotation: 0, callback: (value) => tick(value, options.format) },
    grid: { color: colour('--grid'), drawTicks: false, borderColor: colour('--line') },
  };
}

function dataset(series) {
  const paint = typeof series.colour === 'function' ? series.colour() : colour(series.colour);
  return {
    label: series.label,
    data: series.points ?? [],
    borderColor: paint,
    backgroundColor: paint,
    borderWidth: series.width ?? 2,
    borderDash: series.dash,
    pointRadius: 0,
    pointHoverRadius: 4,
    pointHitRadius: 8,
    tension: 0,
    spanGaps: true,
    parsing: false,
    normalized: true,
  };
}

function missing() {
  return h('p.notice', {}, 'Charts need Chart.js (package libjs-chart.js), but the service did not find it. The tables have the same figures.');
}

function tooltipColours() {
  return { backgroundColor: colour('--ink'), titleColor: colour('--bg'), bodyColor: colour('--bg'), padding: 9 };
}

/** Draws a chart. While its page is not yet in the document, it has no size; it is then drawn in
 * the next frame. */
function draw(chart, signal) {
  if (signal.aborted) return;
  if (chart.canvas.isConnected) chart.update('none');
  else requestAnimationFrame(() => draw(chart, signal));
}

/** Chart.js on a canvas that follows the colour scheme: {element, canvas, chart}. It ends with
 * `signal`. make() returns its datasets and options. */
function mount({ type, label, make, signal }) {
  const canvas = h('canvas', { role: 'img', 'aria-label': label });
  const element = h('div.chart', {}, canvas);
  window.Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  const { datasets, options } = make();
  const chart = new window.Chart(canvas, { type, data: { datasets }, options });
  onTheme(signal, () => {
    const fresh = make(chart.data.datasets);
    chart.data.datasets = fresh.datasets;
    chart.options = fresh.options;
    chart.update('none');
  });
  signal.addEventListener('abort', () => chart.destroy());
  return { element, canvas, chart };
}

/**
 * series: [{label, colour: '--property' or () => colour, dash?, dots?, width?}]; x and y: {title,
 * min, max, zero, whole, format (of ticks), exact (of tooltips)}. Returns {element, set(index,
 * points), draw(), describe(text)}; points are {x, y} in ascending x. The chart ends with `signal`.
 */
export function lineChart({ label, series, x, y, legend = true, signal }) {
  if (!window.Chart) return { element: missing(), set() {}, draw() {}, describe() {} };
  const options = () => ({
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    interaction: { mode: 'nearest', axis: 'x', intersect: false },
    scales: { x: axis({ ...x, ticks: 8 }), y: axis(y) },
    plugins: {
      legend: { display: legend, align: 'start', labels: { color: colour('--ink'), boxWidth: 18, boxHeight: 1, padding: 12, font: { size: 12 } } },
      decimation: { enabled: true, algorithm: 'lttb', samples: POINTS, threshold: POINTS },
      tooltip: {
        ...tooltipColours(), displayColors: series.length < 5,
        filter: (item, i) => i < 6,
        callbacks: {
          title: (items) => (items.length ? `${x.title} ${items[0].parsed.x}` : ''),
          label: (item) => `${item.dataset.label}: ${(y.exact ?? digits)(item.parsed.y)}`,
        },
      },
    },
  });
  const { element, canvas, chart } = mount({
    type: 'line',
    label,
    signal,
    make: (old) => ({ datasets: series.map((s, i) => ({ ...dataset(s), ...(old ? { data: old[i].data, pointRadius: old[i].pointRadius } : {}) })), options: options() }),
  });
  return {
    element,
    set(index, points) {
      const line = chart.data.datasets[index];
      line.data = points;
      line.pointRadius = series[index].dots && points.length <= MOST_DOTS ? 2.5 : 0;
    },
    draw() { draw(chart, signal); },
    describe(text) { canvas.setAttribute('aria-label', `${label}. ${text}`); },
  };
}

/**
 * Points to click. x and y as for lineChart, and y.bounds(points) may give {min, max}; points: [{x,
 * y, label, group}], group a number that picks the colour; onPick(point). Returns {element,
 * set(points)}.
 */
export function scatterChart({ label, x, y, onPick, signal }) {
  if (!window.Chart) return { element: missing(), set() {} };
  const paint = (point) => colour(PALETTE[(point.group ?? 0) % PALETTE.length]);
  const make = (old) => {
    const points = old?.[0].data ?? [];
    return {
      datasets: [{ data: points, parsing: false, pointRadius: 6, pointHoverRadius: 8, pointBackgroundColor: points.map(paint), pointBorderColor: colour('--surface'), pointBorderWidth: 1.5 }],
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        interaction: { mode: 'nearest', intersect: true },
        onClick: (event, hits) => { if (hits.length) onPick(chart.data.datasets[0].data[hits[0].index]); },
        onHover: (event, hits) => { event.native.target.style.cursor = hits.length ? 'pointer' : ''; },
        scales: { x: axis({ ...x, ticks: 6 }), y: axis({ ...y, ...(points.length ? y.bounds?.(points) : {}) }) },
        plugins: {
          legend: { display: false },
          tooltip: {
            ...tooltipColours(), displayColors: false,
            callbacks: { label: ({ raw }) => [raw.label, `${x.title}: ${(x.exact ?? digits)(raw.x)}`, `${y.title}: ${(y.exact ?? digits)(raw.y)}`] },
          },
        },
      },
    };
  };
  const { element, canvas, chart } = mount({ type: 'scatter', label, signal, make });
  return {
    element,
    set(points) {
      const fresh = make([{ data: points }]);
      chart.data.datasets = fresh.datasets;
      chart.options = fresh.options;
      draw(chart, signal);
      canvas.setAttribute('aria-label', `${label}. ${points.length} points; the table has the same figures.`);
    },
  };
}
