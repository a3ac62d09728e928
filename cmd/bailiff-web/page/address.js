// One address: what the journal tells about it, line by line, and what is missing to a ban.

import * as api from './api.js';
import { allowDialog, banDialog, unbanButton } from './act.js';
import { card, command, fault, h, show, table } from './dom.js';
import { live } from './live.js';
import { address, duration, number, plural, reason, time, until } from './format.js';

// evidence shows journal entries as journalctl does, with the pattern that matched each and its weight.
function evidence(lines) {
  return lines.map((l) => {
    if (l.missing) return h('div', { class: 'line muted' }, l.time && !l.time.startsWith('0001') ? time(l.time) + ' ' : '', `(${l.missing})`);
    const verdict = [l.pattern, l.weight > 1 ? `weight ${l.weight}` : ''].filter(Boolean).join(', ');
    return h('div', { class: 'line' }, h('span', { class: 'muted' }, `${time(l.time)} ${l.identifier ?? ''}${l.pid ? `[${l.pid}]` : ''} ${l.unit ?? ''}`), h('span', { class: 'mono message' }, l.message), verdict ? h('span', { class: 'verdict' }, verdict) : null);
  });
}

function banCard(b) {
  return card(`Ban of ${address(b.prefix)} by jail ${b.jail}`,
    h('dl', {}, [['Since', time(b.since)], ['Until', until(b.until)], ['Number', `ban ${b.count} of this prefix`], ['Because', b.by ? `${reason(b)} (${b.by})` : `${reason(b)}: ${plural(b.failures, 'attempt')}`], b.ports && ['Ports', b.ports]]
      .filter(Boolean).map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)])),
    command(`journalctl BAILIFF_BAN_ID=${b.id}`), api.canChange() ? unbanButton(b) : null, evidence(b.evidence));
}

// fleetCard lists the bans of other hosts of the fleet.
const fleetCard = (l) => card('Banned by other hosts', table('Bans of the fleet', ['Host', 'Group', 'Prefix', 'Jail', 'Since', 'Until', { text: 'Failures', num: true }, 'Reason'],
  l.map((b) => [b.host, b.group ?? '', address(b.prefix), b.jail, time(b.since), b.lifted ? 'lifted' : until(b.until), b.failures ? number(b.failures) : '', reason(b)])));

// need says in a sentence what is missing to a ban.
function need(c) {
  const within = duration(c.window_seconds);
  const weight = c.count !== c.attempts ? ` (weight ${c.count})` : '';
  const next = c.missing <= 1 ? 'the next failure leads to a ban' : `${c.missing} more lead to a ban`;
  switch (c.window) {
    case 'account':
      return `an account that ${plural(c.addresses, 'address', 'addresses')} failed on within ${within}: ${plural(c.attempts, 'attempt')}${weight}` + (c.addresses < c.addresses_needed ? `; not under attack (that takes ${c.addresses_needed} addresses)` : `, limit ${c.max_retry}: ${next}`);
    case 'network':
      return `network: ${plural(c.attempts, 'part')} of it attacked within ${within}, limit ${c.max_retry}: ${next}`;
    default:
      return `${plural(c.attempts, 'attempt')}${weight} within ${within}${c.window === 'slow' ? ' (slow window)' : ''}, limit ${c.max_retry}: ${next}`;
  }
}

const countCard = (c) => card(`${address(c.prefix)}, jail ${c.jail}`, h('p', {}, need(c)), h('meter', { min: 0, max: Math.max(1, c.max_retry), value: Math.min(c.count, c.max_retry), 'aria-label': `${c.count} of ${c.max_retry}` }),
  c.until && !c.until.startsWith('0001') ? h('p', { class: 'muted' }, `the oldest counts until ${time(c.until)}`) : null, evidence(c.evidence));

const states = {
  banned: ['bad', 'Banned'], allowed: ['good', 'Allowed: it is never banned'], counted: ['', 'Failures on record, not banned'], unknown: ['', 'No failures on record'],
};

// registry is the card with whose the address is. The registries are asked when somebody wants to know, unless a report has asked.
function registry(of, signal) {
  const place = h('div', { role: 'status' });
  const ask = h('button', {
    type: 'button', id: 'whois',
    onclick: async () => {
      ask.disabled = true;
      show(place, h('p', { class: 'muted' }, 'Asking'));
      try {
        const w = await api.get('/report/v1/whois', { address: of }, signal);
        show(place, whois(w));
        if (!w.failed) ask.remove();
      } catch (e) {
        if (!signal.aborted) show(place, fault(e));
      }
      ask.disabled = false;
    },
  }, 'Ask the registries');
  const answered = (w) => { show(place, whois(w)); ask.remove(); };
  return [card('Registry', ask, place), answered];
}

function whois(w) {
  const rows = [['Network', w.network], ['Name', w.name], ['Holder', w.holder], ['Country', w.country], ['Abuse contact', w.abuse?.join(', ')], ['From', w.source], ['No answer', w.failed]].filter(([, v]) => v);
  return [h('dl', {}, rows.map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)])), w.text ? h('pre', { tabindex: '0' }, w.text) : null];
}

function reports(r) {
  return card('Reports waiting', table('Deliveries', ['Destination', 'State', { text: 'Attempts', num: true }, 'Next', 'Error'], r.deliveries.map((d) => [d.destination, d.state, number(d.attempts), time(d.next), d.error ?? ''])));
}

// past lists earlier bans of the address, from the audit trail.
async function past(root, of, signal) {
  const rows = [];
  const list = h('div');
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Search in the audit trail' });
  root.append(card('Bans in the last year', bar, list));
  const draw = () => show(list, table('Audit trail', ['Time', 'What', 'Prefix', 'Jail', 'Until', 'Reason'], rows.map((x) => [time(x.time), x.kind, address(x.prefix), x.jail, x.kind === 'unban' ? '' : until(x.until), reason(x) + (x.by ? ` (${x.by})` : '')]), 'None in the journal.'));
  try {
    await api.stream('/v1/history', { since: '365d', prefix: of, limit: 50 }, (l) => {
      if (l.kind === 'progress') bar.value = l.share;
      else if (l.kind === 'error') throw new api.Failure(0, l.error);
      else if (l.kind !== 'summary') rows.push(l);
    }, signal);
    draw();
  } catch (e) {
    if (!signal.aborted) show(list, fault(e));
  }
  bar.remove();
}

export async function story(root, { rest }) {
  const of = rest[0] ?? '';
  root.querySelector('h1').textContent = '';
  show(root.querySelector('h1'), of);
  const gone = new AbortController();
  const w = await api.get('/v1/why', { address: of }, gone.signal);
  const [kind, title] = states[w.state];
  root.append(h('div', { class: `notice ${kind}`, role: 'status', id: 'state' }, h('strong', {}, title)));
  if (api.canChange()) {
    root.append(h('p', {}, h('button', { type: 'button', id: 'ban', onclick: () => banDialog(w.address) }, 'Ban…'), ' ', h('button', { type: 'button', id: 'allow', onclick: () => allowDialog(w.address) }, 'Allow…')));
  }
  if (w.allowed.length) root.append(card('Allowed by', table('Entries of the allow list', ['Prefix', 'From', 'Until', 'Comment'], w.allowed.map((a) => [address(a.prefix), a.origin, until(a.until), a.comment ?? '']))));
  root.append(...w.bans.map(banCard));
  if (w.bans_total > w.bans.length) root.append(h('p', {}, h('a', { href: '#/bans?search=' + encodeURIComponent(w.address) }, `all ${plural(w.bans_total, 'ban')}`)));
  if (w.fleet?.length) root.append(fleetCard(w.fleet));
  if (w.lists?.length) root.append(card('On block lists', table('Block lists', ['List', 'Entry', 'Mode'], w.lists.map((l) => [l.list, address(l.prefix), l.mode === 'log' ? 'counted, not stopped' : 'stopped']))));
  root.append(...w.counted.map(countCard));
  if (w.history.length) root.append(card('Remembered for longer bans', w.history.map((x) => h('p', {}, `${plural(x.count, 'ban')} of ${address(x.prefix)}, the last ${x.last ? 'until ' + time(x.last) : 'without an end'}`))));
  if ((live.status ?? await api.get('/v1/status')).reports) { // else bailiff-report does not run
    const [asked, answered] = registry(w.address.split('/')[0], gone.signal);
    root.append(asked);
    if (w.bans.length) {
      api.get('/report/v1/report', { id: w.address }, gone.signal).then((r) => {
        root.append(reports(r));
        if (r.report?.whois) answered(r.report.whois);
      }, () => { /* none waits */ });
    }
  }
  past(root, of, gone.signal);
  return () => gone.abort();
}
