// Colours from the style sheet for charts and heat maps, which CSS cannot paint. They follow the
// light and dark scheme.

const dark = matchMedia('(prefers-color-scheme: dark)');

/** A custom property of the root, such as '--ink'. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Calls redraw when the scheme changes, until `signal` is aborted. */
export function onTheme(signal, redraw) {
  dark.addEventListener('change', redraw, { signal });
}

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** Between two #rrggbb colours, t in 0..1. */
export function mix(low, high, t) {
  const a = channels(low);
  const b = channels(high);
  return a.map((x, i) => Math.round(x + (b[i] - x) * t));
}

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

/** Black or white, whichever has more contrast on the colour: at least 4.58 to 1 (WCAG 2 relative
 * luminance). */
export function inkOn(rgb) {
  const [r, g, b] = rgb.map((v) => {
    const s = v / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return (luminance + 0.05) ** 2 > 1.05 * 0.05 ? '#000' : '#fff';
}
