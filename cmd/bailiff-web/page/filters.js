// The filters, their patterns, and a test of a line: how each filter understands it.

import * as api from './api.js';
import { card, fault, h, show, table } from './dom.js';
import { plural } from './format.js';

function verdict(m) {
  const found = [['Address', m.address], ['Port', m.port], ['Account', m.user], ['Stands for', m.repeat > 1 ? plural(m.repeat, 'attempt') : '']].filter(([, v]) => v);
  return card(`${m.filter} (mode ${m.mode}): ${m.kind}`, m.pattern ? h('p', {}, 'pattern ', h('code', {}, m.pattern)) : null,
    found.length ? h('dl', {}, found.map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)])) : null,
    m.refused ? h('p', {}, m.refused) : null, m.modes.length ? h('p', { class: 'muted' }, 'it matches in ' + m.modes.join(', ')) : null,
    h('p', { class: 'muted' }, 'A line alone does not say who wrote it. This filter trusts ' + m.trust),
    m.tries.map((t) => h('div', { class: 'line' }, h('span', { class: 'muted' }, `${t.matched ? 'matched' : 'stopped'}: ${t.pattern}${t.in_mode ? '' : ' (of another mode)'}`), h('span', { class: 'mono' }, t.text),
      t.matched ? null : h('span', { class: 'mono' }, t.begin, h('mark', {}, '▸'), t.rest), t.wanted ? h('span', { class: 'muted' }, `expected there: ${t.wanted}`) : null)));
}

export async function filters(root) {
  const line = h('textarea', { id: 'line', rows: 3, maxlength: 4000, required: true, spellcheck: 'false' });
  const which = h('select', { id: 'filter' }, h('option', { value: '' }, 'all filters'));
  const result = h('div', { 'aria-live': 'polite', id: 'result' });
  root.append(card('Test a line', h('form', {
    onsubmit: async (e) => {
      e.preventDefault();
      try {
        const l = await api.get('/v1/match', { line: line.value.replace(/[\r\n]+$/, ''), filter: which.value });
        show(result, l.length ? l.map(verdict) : h('p', {}, 'No filter matches this line.'));
      } catch (x) {
        show(result, fault(x));
      }
    },
  }, h('label', { for: 'line' }, 'Message, without time and host', line), h('label', { for: 'filter' }, 'Filter', which), h('button', { class: 'main' }, 'Test'))), result);
  const all = await api.get('/v1/filters');
  which.append(...all.map((f) => h('option', { value: f.name }, f.name)));
  root.append(card('Filters', all.map((f) => h('details', {}, h('summary', {}, h('strong', {}, f.name), ` ${f.description} `, h('span', { class: 'muted' }, f.jails.some((j) => j.enabled) ? `on: ${f.jails.filter((j) => j.enabled).map((j) => `${j.jail} (${j.mode})`).join(', ')}` : 'off')),
    f.notes ? h('p', {}, f.notes) : null, h('p', { class: 'muted' }, `${f.file}; modes ${f.modes.join(', ')}; trusts ${f.trust}`),
    table('Patterns', ['Name', 'Kind', 'Modes', 'Pattern'], f.patterns.map((p) => [p.name, p.kind, p.modes.join(' ') || 'all', h('span', { class: 'mono' }, p.text)]))))));
}
