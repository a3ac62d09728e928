// Small charts, drawn as SVG. Each has its numbers as text for those who cannot see it.

import { h, s } from './dom.js';
import { number } from './format.js';

// columns draws values as columns, with a label below the first, the middle and the last. items are {label, value, text}.
export function columns(title, items, height = 120) {
  const most = Math.max(1, ...items.map((i) => i.value));
  const w = window.innerWidth < 700 ? 400 : 1000;
  const step = w / Math.max(1, items.length);
  const total = items.reduce((t, i) => t + i.value, 0);
  const bars = items.map((it, i) => {
    const y = it.value ? Math.max(2, (height - 14) * it.value / most) : 0;
    return s('rect', { x: (i * step + step * 0.1).toFixed(2), y: (height - y).toFixed(2), width: (step * 0.8).toFixed(2), height: y.toFixed(2), class: 'bar' }, s('title', {}, `${it.text ?? it.label}: ${number(it.value)}`));
  });
  const labels = [0, Math.floor(items.length / 2), items.length - 1].filter((v, i, l) => v >= 0 && l.indexOf(v) === i && items[v]);
  return h('figure', { class: 'chart' },
    s('svg', { viewBox: `0 0 ${w} ${height + 18}`, role: 'img', 'aria-label': `${title}: ${number(total)} in all, ${number(most)} at most` },
      s('line', { x1: 0, y1: height, x2: w, y2: height, class: 'axis' }), bars,
      s('text', { x: 0, y: 11, class: 'label' }, number(most)),
      labels.map((i) => s('text', { x: ((i + 0.5) * step).toFixed(1), y: height + 14, class: 'label', 'text-anchor': i === 0 ? 'start' : i === items.length - 1 ? 'end' : 'middle' }, items[i].label))));
}

// spark draws values as a line without labels.
export function spark(title, values) {
  const most = Math.max(1, ...values);
  const points = values.map((v, i) => `${(i * 200 / (values.length - 1)).toFixed(1)},${(38 - 36 * v / most).toFixed(1)}`).join(' ');
  return s('svg', { class: 'spark', viewBox: '0 0 200 40', preserveAspectRatio: 'none', role: 'img', 'aria-label': title }, s('polyline', { points }));
}

// ranking is a list of names with their numbers as bars. items are {name, value, href, text}.
export function ranking(items, none = 'None.') {
  if (!items.length) return h('p', { class: 'muted' }, none);
  const most = Math.max(1, ...items.map((i) => i.value));
  return h('ol', { class: 'ranking' }, items.map((i) => h('li', {},
    i.href ? h('a', { href: i.href }, i.name) : h('span', {}, i.name), h('span', { class: 'num' }, i.text ?? number(i.value)),
    s('svg', { viewBox: '0 0 100 3', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, s('rect', { width: (100 * i.value / most).toFixed(2), height: 3, class: 'bar' })))));
}
