// Reports: where they go, and those that wait.

import * as api from './api.js';
import { card, command, h, show, table } from './dom.js';
import { number, plural, time } from './format.js';
import { link } from './overview.js';

const shown = 200;

export async function reports(root, { params }) {
  const of = params.get('destination') ?? '';
  const [s, l] = await Promise.all([api.get('/report/v1/status'), api.get('/report/v1/reports', { destination: of, limit: shown })]);
  root.append(card('Destinations', table('Destinations', ['Destination', 'Kind', { text: 'Waiting', num: true }, { text: 'Sent in 24 h', num: true }, 'Last delivery', 'State'],
    s.destinations.map((d) => [d.name, d.type ?? 'no longer configured', h('a', { href: '#/reports?' + new URLSearchParams({ destination: d.name }) }, number(d.waiting)),
      number(d.sent) + (d.quota ? ` of ${number(d.quota)}` : ''), time(d.last_ok), condition(d)]), 'No destination is configured.')));
  const list = h('div', { id: 'waiting' });
  root.append(card(of ? `Waiting for ${of}` : 'Waiting', of ? h('p', {}, h('a', { href: '#/reports' }, 'for all destinations')) : null, list));
  show(list, table('Waiting reports, the oldest first', ['Ban of', 'Address', 'Jail', 'Destination', 'State', { text: 'Attempts', num: true }, 'Next', 'Error'],
    l.reports.map((r) => [time(r.time), r.address ? link(r.address) : r.item ?? '', r.jail, r.destination, r.state, number(r.attempts), time(r.next), r.error ?? '']), 'No report waits.'),
  l.total > l.reports.length ? h('p', { class: 'muted' }, `and ${plural(l.total - l.reports.length, 'more', 'more')}: `, command('bailiff report list')) : null);
}

// condition is what hinders a destination, with the command that helps.
function condition(d) {
  if (d.held) return [`held: ${d.held} `, command(`bailiff report retry ${d.name}`)];
  if (d.paused) return `paused until ${time(d.paused)}: ${d.last_error ?? ''}`;
  if (d.last_error) return `failed ${time(d.last_failed)}: ${d.last_error}`;
  if (d.behind) return 'its queue is full: newer bans wait in the journal';
  return d.delivering ? 'delivering' : 'ready';
}
