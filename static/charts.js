// Line charts with Chart.js (a classic script, the global `Chart`), in the dashboard's colours. Without it the page says so and its tables remain.
import { h } from './dom.js';
import { digits } from './format.js';
import { colour, onTheme } from './theme.js';

const POINTS = 600;
const MOST_DOTS = 40;

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

/**
 * series: [{label, colour: '--property' or () => colour, dash?, dots?, width?}]; x and y: {title, min, max, zero, whole, format (of ticks), exact (of tooltips)}.
 * Returns {element, set(index, points), draw(), describe(text)}; points are {x, y} in ascending x. The chart ends with `signal`.
 */
export function lineChart({ label, series, x, y, legend = true, signal }) {
  if (!window.Chart) {
    const missing = h('p.notice', {}, 'Charts need Chart.js (package libjs-chart.js), which the service did not find. The figures are in the tables.');
    return { element: missing, set() {}, draw() {}, describe() {} };
  }
  const canvas = h('canvas', { role: 'img', 'aria-label': label });
  const element = h('div.chart', {}, canvas);
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
        backgroundColor: colour('--ink'), titleColor: colour('--bg'), bodyColor: colour('--bg'), displayColors: series.length < 5, padding: 9,
        filter: (item, i) => i < 6,
        callbacks: {
          title: (items) => (items.length ? `${x.title} ${items[0].parsed.x}` : ''),
          label: (item) => `${item.dataset.label}: ${(y.exact ?? digits)(item.parsed.y)}`,
        },
      },
    },
  });
  window.Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  const chart = new window.Chart(canvas, { type: 'line', data: { datasets: series.map(dataset) }, options: options() });
  onTheme(signal, () => {
    chart.data.datasets = series.map((s, i) => ({ ...dataset(s), data: chart.data.datasets[i].data, pointRadius: chart.data.datasets[i].pointRadius }));
    chart.options = options();
    chart.update('none');
  });
  signal.addEventListener('abort', () => chart.destroy());
  return {
    element,
    set(index, points) {
      const line = chart.data.datasets[index];
      line.data = points;
      line.pointRadius = series[index].dots && points.length <= MOST_DOTS ? 2.5 : 0;
    },
    draw() { if (!signal.aborted) chart.update('none'); },
    describe(text) { canvas.setAttribute('aria-label', `${label}. ${text}`); },
  };
}
