// Fleet: the other hosts whose bans are in effect here, and how far bailiff-fleet has come.

import * as api from './api.js';
import { card, command, h, table } from './dom.js';
import { ago, duration, number, plural, time } from './format.js';
import { link, update } from './overview.js';

const shown = 200; // hosts, those first that need a look

// configured reports whether this host is a member of a fleet.
export const configured = (f) => Boolean(f && (f.hosts.length || f.roster.fleet || f.agent));

// trouble is what is wrong with the connection to the fleet; empty: nothing.
export function trouble(f) {
  const a = f.agent;
  if (!a) return 'bailiff-fleet has not reported: bans of other hosts are not received';
  if (a.error) return a.error;
  if (!a.hub) return `not connected to a hub since ${time(a.since)}`;
  return a.flooding ? `${a.flooding} sends more news than is read` : '';
}

// lag says how far bailiff-fleet is behind the hub, and the hub behind this host.
export const lag = (a) => (a.behind || a.waiting ? `${plural(a.behind ?? 0, 'message')} to read, ${plural(a.waiting ?? 0, 'ban')} to send` : 'up to date');

const refused = (x) => Object.values(x.refused ?? {}).reduce((t, n) => t + n, 0);
const ahead = (s) => (Math.abs(s ?? 0) < 1 ? '' : `${duration(Math.abs(s))} ${s > 0 ? 'ahead' : 'behind'}`);

function state(f) {
  const wrong = trouble(f);
  if (wrong) return h('div', { class: 'bad notice', role: 'alert' }, h('strong', {}, 'Not connected'), h('p', {}, wrong), command('systemctl status bailiff-fleet'));
  return h('div', { class: 'good notice', role: 'status' }, h('strong', {}, 'Connected'), h('p', {}, `to ${f.agent.hub} since ${time(f.agent.since)}; ${lag(f.agent)}; ${plural(f.agent.published, 'ban')} of this host published`));
}

function hosts(f) {
  const rows = f.hosts.map((x) => ({ ...x, no: refused(x) })).sort((a, b) => b.clashes - a.clashes || b.no - a.no || b.bans - a.bans || a.name.localeCompare(b.name));
  return [table('Hosts', ['Host', 'Group', { text: 'Bans', num: true }, 'Latest news', 'Clock', { text: 'Refused', num: true }, { text: 'Allowed here', num: true }],
    rows.slice(0, shown).map((x) => [x.name, x.group ?? '', number(x.bans), ago(x.latest), ahead(x.clock_ahead),
      x.no ? h('span', { title: Object.entries(x.refused).map(([why, n]) => `${why}: ${n}`).join(', ') }, number(x.no)) : '', x.clashes ? number(x.clashes) : '']), 'No host of the fleet is believed.'),
  rows.length > shown ? h('p', { class: 'muted' }, `and ${number(rows.length - shown)} more: `, command('bailiff fleet status')) : null];
}

function clashes(f) {
  if (!f.clashes.count) return [];
  return card('Banned by others, allowed here', h('p', {}, `${plural(f.clashes.count, 'prefix', 'prefixes')} would be banned if this host did not allow them:`),
    h('ul', {}, (f.clashes.prefixes ?? []).map((p) => h('li', {}, link(p)))));
}

// together shows what this host bans because many hosts have counted a little of it.
function together(t) {
  if (!t) return [];
  return card('Counted together', h('p', {}, `${plural(t.bans, 'ban')} for failures on at least ${plural(t.hosts, 'host')}; failures of ${plural(t.watched, 'prefix', 'prefixes')} are counted`
    + (t.prevented ? `; ${plural(t.prevented, 'ban')} prevented, since a host knew the address as good` : '')),
  table('Newest bans for it', ['Prefix', 'Since', 'Until', { text: 'Hosts', num: true }, { text: 'Groups', num: true }, { text: 'Failures', num: true }],
    t.latest.map((x) => [link(x.prefix), time(x.since), time(x.until), number(x.hosts), number(x.groups), number(x.failures)]), 'None now.'));
}

export async function fleet(root) {
  const parts = { state: h('div'), hosts: h('div'), together: h('div'), clashes: h('div') };
  const draw = async () => {
    const f = await api.get('/v1/fleet');
    if (!configured(f)) {
      update(parts.state, h('p', {}, 'This host is not a member of a fleet: bailiff-fleet(7).'));
      return;
    }
    update(parts.state, state(f));
    update(parts.hosts, card(f.roster.fleet ? `Fleet ${f.roster.fleet}` : 'Fleet', h('p', {}, `${plural(f.in_effect, 'prefix', 'prefixes')} banned here by ${plural(f.bans, 'ban')} of ${plural(f.hosts.length, 'host')}`
      + (f.votes > 1 ? `; ${f.votes} groups must agree` : '')), hosts(f)));
    update(parts.together, together(f.together));
    update(parts.clashes, clashes(f));
  };
  root.append(parts.state, parts.hosts, parts.together, parts.clashes);
  await draw();
  const timer = setInterval(() => draw().catch(() => { /* the overview says that the daemon is gone */ }), 5000);
  return () => clearInterval(timer);
}
