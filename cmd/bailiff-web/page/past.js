// History: bans and their ends beyond what is in force, from the audit trail, read in the background.

import * as api from './api.js';
import { columns, ranking } from './chart.js';
import { card, fault, h, show, table } from './dom.js';
import { address, number, plural, reason, reasons, time, until } from './format.js';
import { link } from './overview.js';

export const spans = [['24h', '24 hours', 24], ['7d', '7 days', 168], ['30d', '30 days', 720], ['365d', 'a year', 8760]];

// bars are the columns of a timeline that ends now: hours up to three days, else days.
export function bars(hours, length) {
  const step = length <= 72 ? 1 : 24;
  const now = Math.floor(Date.now() / 3600000);
  const counts = new Array(Math.ceil(length / step)).fill(0);
  for (const x of hours) {
    const i = counts.length - 1 - Math.floor((now - Math.floor(new Date(x.time) / 3600000)) / step);
    if (i >= 0 && i < counts.length) counts[i] += x.bans;
  }
  return counts.map((value, i) => {
    const at = time((now - (counts.length - 1 - i) * step) * 3600000);
    return { value, label: step === 1 ? at.slice(11, 16) : at.slice(5, 10), text: step === 1 ? at.slice(0, 16) : at.slice(0, 10) };
  });
}

const reasonName = (n) => (n === 'manual' ? 'by hand' : reasons[n] ?? n);

// rankings shows what a period counts, by jail, reason, country and network. Each number leads to the bans that it counts.
export function rankings(p, accounts, since) {
  const list = (l, key, text) => ranking(l.slice(0, 8).map((x) => ({ value: x.bans, name: text ? text(x.name) : x.name, href: key && '#/history?' + new URLSearchParams({ since, [key]: x.name }) })));
  return [
    card('By jail', list(p.jails, 'jail')),
    card('By reason', list(p.reasons, 'reason', reasonName)),
    card('Networks', list(p.networks, 'prefix', address)),
    p.countries ? card('By country', list(p.countries, 'country')) : null,
    accounts ? card('Accounts attacked', list(accounts), h('p', { class: 'muted' }, 'of the newest bans; names are attackers\' text, or mistyped passwords')) : null,
  ].filter(Boolean);
}

// search runs a search in the audit trail and shows how far it has come.
export async function search(query, bar, f, signal) {
  let summary = null;
  await api.stream('/v1/history', query, (l) => {
    if (l.kind === 'progress') bar.value = l.share;
    else if (l.kind === 'error') throw new api.Failure(0, l.error);
    else if (l.kind === 'summary') summary = l.summary;
    else f(l);
  }, signal);
  return summary;
}

export async function past(root, { params }) {
  const since = spans.some(([v]) => v === params.get('since')) ? params.get('since') : '30d';
  const query = { since, jail: params.get('jail') ?? '', prefix: params.get('prefix') ?? '', reason: params.get('reason') ?? '', country: params.get('country') ?? '', limit: 1000 };
  const only = [query.reason && `reason: ${reasonName(query.reason)}`, query.country && `country: ${query.country}`].filter(Boolean).join(', ');
  const choose = h('select', { id: 'since' }, spans.map(([v, t]) => h('option', { value: v, selected: v === since }, t)));
  const prefix = h('input', { id: 'prefix', type: 'search', value: query.prefix, autocomplete: 'off' });
  const jail = h('input', { id: 'jail', value: query.jail, autocomplete: 'off' });
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Search in the audit trail' });
  const result = h('div', { id: 'result' });
  root.append(h('form', {
    class: 'tools',
    onsubmit: (e) => {
      e.preventDefault();
      const next = new URLSearchParams({ since: choose.value });
      if (prefix.value.trim()) next.set('prefix', prefix.value.trim());
      if (jail.value.trim()) next.set('jail', jail.value.trim());
      location.hash = '#/history?' + next;
    },
  }, h('label', { for: 'since' }, 'Last', choose), h('label', { for: 'prefix' }, 'Address or prefix', prefix), h('label', { for: 'jail' }, 'Jail', jail), h('button', { class: 'main' }, 'Search'), only ? h('span', {}, `only ${only} `, h('a', { href: '#/history?since=' + since }, 'all')) : null), bar, result);
  const gone = new AbortController();
  const rows = [];
  (async () => {
    try {
      const s = await search(query, bar, (l) => rows.push(l), gone.signal);
      const length = spans.find(([v]) => v === since)[2];
      show(result, s.complete ? null : h('p', { class: 'bad notice' }, `The search took too long and ended at ${time(s.reached)}.`),
        card('Bans', columns('Bans', bars(s.hours, length))),
        card('Audit trail', h('p', { id: 'total', role: 'status' }, plural(s.total, 'entry', 'entries') + (s.total > rows.length ? `, the newest ${number(rows.length)} shown` : '')),
          table('Bans and their ends, the newest first', ['Time', 'What', 'Address', 'Jail', 'Until', { text: 'Failures', num: true }, 'Reason'], rows.map((x) => [time(x.time), x.kind, link(x.prefix), x.jail, x.kind === 'unban' ? '' : until(x.until), x.failures ? number(x.failures) : '', reason(x) + (x.by ? ` (${x.by})` : '')]), 'Nothing in this time.')));
    } catch (e) {
      if (!gone.signal.aborted) show(result, fault(e));
    }
    bar.remove();
  })();
  return () => gone.abort();
}
