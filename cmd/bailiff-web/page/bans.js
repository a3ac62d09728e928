// Bans in force: search, filters with counts, pages, export.

import * as api from './api.js';
import { banDialog, unbanButton } from './act.js';
import { card, fault, h, show, table } from './dom.js';
import { number, plural, reason, time, until } from './format.js';
import { link } from './overview.js';

const pageSize = 100;
const exportPage = 10000;
const filters = ['search', 'jail', 'origin', 'reason', 'country'];
const names = { jail: 'Jail', origin: 'Origin', reason: 'Reason', country: 'Country' };

const to = (params) => '#/bans' + (params.size ? '?' + params : '');

// facet is the list of values of one property, each a link that filters by it or, if it does already, no longer does.
function facet(params, key, list) {
  if (!list?.length) return null;
  return h('section', { 'aria-label': names[key] }, h('h3', {}, names[key]), h('ul', { class: 'facet' }, list.slice(0, 12).map((f) => {
    const chosen = params.get(key) === f.name;
    const next = new URLSearchParams(params);
    next.delete('pages');
    if (chosen) next.delete(key);
    else next.set(key, f.name);
    return h('li', {}, h('a', { href: to(next), 'aria-current': chosen && 'true' }, f.name), ' ', h('span', { class: 'muted num' }, number(f.bans)));
  })));
}

// cell quotes a value for CSV. A text that a spreadsheet would take for a formula gets an apostrophe.
const cell = (v) => '"' + String(v ?? '').replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""') + '"';

const columns = ['prefix', 'jail', 'since', 'until', 'failures', 'count', 'ports', 'reason', 'by', 'country', 'id'];

async function exportAs(kind, query, progress) {
  const all = [];
  let after;
  do {
    const l = await api.get('/v1/bans', { ...query, limit: exportPage, after, facets: 'true' });
    all.push(...l.bans);
    after = l.next;
    show(progress, `${number(all.length)} of ${number(l.total)}`);
  } while (after);
  show(progress);
  const text = kind === 'csv' ? [columns.join(','), ...all.map((b) => columns.map((c) => cell(b[c])).join(','))].join('\r\n') + '\r\n' : JSON.stringify(all, null, 1) + '\n';
  const url = URL.createObjectURL(new Blob([text], { type: kind === 'csv' ? 'text/csv' : 'application/json' }));
  const a = h('a', { href: url, download: 'bailiff-bans.' + kind });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

export async function bans(root, { params }) {
  const query = Object.fromEntries(filters.map((f) => [f, params.get(f) ?? '']));
  const field = h('input', { id: 'search', type: 'search', value: query.search, maxlength: 256, placeholder: 'address, prefix, jail, reason, user', autocomplete: 'off' });
  const progress = h('span', { class: 'muted', role: 'status' });
  const failed = h('div');
  const exporter = (kind) => h('button', { type: 'button', onclick: () => exportAs(kind, query, progress).catch((e) => show(failed, fault(e))) }, kind.toUpperCase());
  root.append(h('form', {
    class: 'tools', role: 'search',
    onsubmit: (e) => {
      e.preventDefault();
      const next = new URLSearchParams(params);
      next.delete('search');
      if (field.value.trim()) next.set('search', field.value.trim());
      location.hash = to(next);
    },
  }, h('label', { for: 'search' }, 'Search', field), h('button', { class: 'main' }, 'Search'), h('span', { role: 'group', 'aria-label': 'Export' }, exporter('csv'), ' ', exporter('json')), progress,
  api.canChange() ? h('button', { type: 'button', id: 'ban', onclick: () => banDialog() }, 'Ban…') : null), failed);
  const side = h('div', { class: 'facets' });
  const list = h('div');
  root.append(h('div', { class: 'sided' }, card('Filter', side), card('Bans', list)));
  const rows = [];
  const load = async (after) => {
    const l = await api.get('/v1/bans', { ...query, sort: 'newest', limit: pageSize, facets: 'true', after });
    rows.push(...l.bans);
    draw(l);
  };
  const draw = (l) => {
    const chosen = filters.filter((f) => query[f]);
    show(side, ['jail', 'origin', 'reason', 'country'].map((key) => facet(params, key, l.facets[{ jail: 'jails', origin: 'origins', reason: 'reasons', country: 'countries' }[key]])),
      chosen.length ? h('p', {}, h('a', { href: '#/bans' }, 'Clear filters')) : null);
    const countries = l.facets.countries;
    const change = api.canChange();
    show(list, h('p', { id: 'total', role: 'status' }, plural(l.total, 'ban') + (l.total > rows.length ? `, the newest ${number(rows.length)} shown` : '')),
      table('Bans in force, the newest first', ['Address', 'Jail', 'Since', 'Until', { text: 'Failures', num: true }, 'Reason', ...(countries ? ['Country'] : []), ...(change ? [''] : [])],
        rows.map((b) => [link(b.prefix), b.jail, time(b.since), until(b.until), number(b.failures), reason(b) + (b.by ? ` (${b.by})` : ''), ...(countries ? [b.country ?? ''] : []), ...(change ? [unbanButton(b)] : [])]), 'No ban matches.'),
      l.next ? h('button', { type: 'button', id: 'more', onclick: (e) => { e.target.disabled = true; load(l.next).catch((x) => show(failed, fault(x))); } }, 'Show more') : null);
  };
  await load();
}

