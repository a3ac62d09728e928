// Overview: is it working, and if not, what helps; who attacks now; what was banned.

import * as api from './api.js';
import { columns, spark } from './chart.js';
import { card, command, h, show, table } from './dom.js';
import * as others from './fleet.js';
import { address, ago, bytes, duration, number, plural, short, time } from './format.js';
import { forget, listen, live, second } from './live.js';
import { bars, rankings, search, spans } from './past.js';

// remedies are the commands that help, by the source of a problem (control.Problem).
const remedies = {
  firewall: ['bailiff firewall verify', 'bailiff firewall repair'],
  configuration: ['bailiff check', 'bailiff reload'],
  'netlink helper': ['systemctl status bailiff-netlink.socket'],
  'state file': ['df -h /var/lib/bailiff'],
  'block lists': ['bailiff lists', 'systemctl status bailiff-lists-refresh'],
  'allow lists': ['bailiff allow refresh', 'systemctl status bailiff-allow-refresh'],
  'rate limit': ['journalctl -u systemd-journald -g Suppressed'],
};

export const remedy = (source) => remedies[source] ?? ['journalctl -u bailiff -x -n 50'];

// link leads to the story of an address or prefix.
export const link = (p, text) => h('a', { href: '#/address/' + encodeURIComponent(address(p)) }, text ?? address(p));

// health says whether bans are in effect, and what to type if they are not.
function health(reports, fleet) {
  if (live.error && live.error.status !== 401) {
    const fix = /^systemctl [a-z]+ [a-z.-]+/.exec(live.error.hint ?? '');
    return h('div', { class: 'bad notice', role: 'alert' }, h('strong', {}, live.error.stopped ? 'Stopped' : 'No answer'), h('p', {}, live.error.message), fix ? command(fix[0]) : h('p', {}, live.error.hint));
  }
  const s = live.status;
  if (!s) return h('p', { class: 'muted' }, 'Asking the daemon');
  const problems = s.problems.map((p) => h('li', {}, h('span', {}, p.text), h('span', { class: 'muted' }, ` (since ${time(p.since)})`), remedy(p.source).map(command)));
  for (const d of reports?.destinations ?? []) {
    const why = d.held || d.last_error;
    if (why) problems.push(h('li', {}, h('span', {}, `Reports to ${d.name}: ${d.held ? 'held: ' : ''}${why}`), command(d.held ? `bailiff report retry ${d.name}` : `bailiff report list ${d.name}`)));
  }
  const alone = others.configured(fleet) && others.trouble(fleet);
  if (alone) problems.push(h('li', {}, h('span', {}, `Fleet: ${alone}`), command('systemctl status bailiff-fleet')));
  if (!problems.length) {
    return h('div', { class: 'good notice', role: 'status' }, h('strong', {}, 'Working'), h('p', {}, `${s.firewall.backend}: ${plural(s.bans, 'ban')} in effect; journal ${duration(s.journal.lag_seconds)} behind; running since ${time(s.started)}`));
  }
  const title = s.firewall.ok ? plural(problems.length, 'problem') : 'Bans are not in effect';
  return h('div', { class: 'bad notice', role: 'alert' }, h('strong', {}, title), h('ul', {}, problems));
}

const tile = (name, value, note, href) => h(href ? 'a' : 'div', { class: 'tile', href }, h('span', { class: 'name' }, name), h('span', { class: 'value' }, value), h('span', { class: 'muted' }, note));

function tiles(reports, latency, fleet) {
  const s = live.status;
  const now = second();
  const stopped = s.firewall.stopped;
  return [
    h('a', { class: 'tile', href: '#/live' }, h('span', { class: 'name' }, 'Failures now'), h('span', { class: 'value', id: 'failures' }, short(live.failures.in(now, window_))),
      h('span', { class: 'muted' }, `in a minute, ${short(live.failures.in(now, 10))} in 10 s`), spark('Failures in the last minute', live.failures.list(now))),
    tile('Bans in effect', number(s.bans), `${short(s.bans_total)} made since the start`, '#/bans'),
    tile('Prefixes tracked', short(s.tracked), `of ${short(s.tracked_max)}; ${plural(s.spread.attacked, 'account')} under attack`),
    tile('Dropped by the firewall', stopped ? short(stopped.reduce((t, x) => t + x.packets, 0)) : '–', stopped ? `packets, ${bytes(stopped.reduce((t, x) => t + x.bytes, 0))}` : `${s.firewall.backend} does not count`),
    latency ? tile('Entry to kernel', latency.median, latency.note) : null,
    s.reports ? tile('Reports waiting', reports ? number(reports.waiting) : '–', reports ? `${reports.destinations.filter((d) => d.held).length} of ${plural(s.reports, 'destination')} held` : 'bailiff-report is not running', reports && '#/reports') : null,
    others.configured(fleet) ? tile('Banned by the fleet', short(fleet.in_effect), `by ${plural(fleet.hosts.length, 'other host')}; ${fleet.agent?.hub ? others.lag(fleet.agent) : 'not connected'}`, '#/fleet') : null,
  ];
}

const window_ = 60;

function attacks() {
  const now = second();
  forget(now);
  const rows = [...live.attacks.values()].map((a) => ({ ...a, minute: a.rate.in(now, window_) })).sort((a, b) => b.minute - a.minute || b.last - a.last).slice(0, 15);
  return table('Attacks in the last minute', ['Prefix', 'Jail', { text: '1 min', num: true }, 'Count', 'Last'],
    rows.map((a) => [link(a.prefix), a.jail, number(a.minute), a.banned ? h('strong', { class: 'badge' }, 'banned') : `${a.count} of ${a.max}`, duration(now - a.last) + ' ago']), 'No attack in the last minute.');
}

function jails() {
  const now = second();
  const rows = live.status.jails.filter((j) => j.bans || j.failures || j.units.length || j.containers?.length || j.user_units?.length)
    .map((j) => ({ ...j, minute: live.jails.get(j.name)?.in(now, window_) ?? 0 })).sort((a, b) => b.minute - a.minute || b.failures - a.failures || b.bans - a.bans);
  return table('Jails', ['Jail', { text: '1 min', num: true }, { text: 'Failures', num: true }, { text: 'Bans', num: true }, 'Last failure'],
    rows.map((j) => [j.name, number(j.minute), number(j.failures), h('a', { href: '#/bans?jail=' + encodeURIComponent(j.name) }, number(j.bans)), ago(j.last_failure)]), 'No jail has anything to watch on this host.');
}

// blockLists is empty where none is configured.
function blockLists() {
  const rows = live.status.block_lists ?? [];
  return rows.length === 0 ? [] : card('Block lists', table('Block lists', ['List', { text: 'Entries', num: true }, { text: 'Packets', num: true }, 'Confirmed'],
    rows.map((l) => [l.holds ? `${l.name}: ${l.holds}` : l.name, number(l.entries), l.mode === 'double' ? 'weighs double' : l.packets === undefined ? '–' : `${number(l.packets)} ${l.mode === 'log' ? 'counted' : 'stopped'}`, ago(l.confirmed)]), ''));
}

// update replaces what an element holds, and keeps the keyboard's place in it.
export function update(e, ...kids) {
  const had = e.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
  show(e, ...kids);
  if (had) [...e.querySelectorAll('a')].find((a) => a.getAttribute('href') === had)?.focus({ preventScroll: true });
}

// latencyOf reads the histogram of the time from an entry to the kernel out of the metrics.
export function latencyOf(text) {
  const buckets = [...text.matchAll(/^bailiff_ban_latency_seconds_bucket\{le="([^"]+)"\} (\S+)$/gm)].map((m) => ({ le: m[1] === '+Inf' ? Infinity : Number(m[1]), n: Number(m[2]) }));
  const total = buckets.at(-1)?.n;
  if (!total) return null;
  const upTo = (share) => buckets.find((b) => b.n >= total * share).le;
  const ms = (x) => (x === Infinity ? 'more' : x < 1 ? `${Number((x * 1000).toPrecision(2))} ms` : `${x} s`);
  return { median: '≤ ' + ms(upTo(0.5)), note: `half of ${plural(total, 'ban')}; 99 % ≤ ${ms(upTo(0.99))}` };
}

// trail shows what was banned in the last day, week and month, from the audit trail.
async function trail(root, signal) {
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Search in the audit trail' });
  const place = h('div');
  const buttons = h('span', { role: 'group', 'aria-label': 'Period' });
  root.append(card('Bans over time', h('div', { class: 'tools' }, buttons), bar, place));
  const more = h('div', { class: 'grid' });
  root.append(more);
  try {
    const s = await search({ since: '30d', limit: 1, accounts: 'true' }, bar, () => {}, signal);
    const pick = (i) => {
      const p = s.periods[i];
      show(buttons, s.periods.map((x, k) => [h('button', { type: 'button', 'aria-pressed': String(k === i), onclick: () => { pick(k); buttons.children[k].focus(); } }, `${spans[k][1]}: ${number(x.bans)}`), ' ']));
      show(place, columns(`Bans in ${spans[i][1]}`, bars(s.hours, p.hours)), h('p', {}, h('a', { href: '#/history?since=' + spans[i][0] }, 'list them')));
      show(more, rankings(p, s.accounts, spans[i][0]));
    };
    pick(0);
  } catch (e) {
    if (!signal.aborted) show(place, h('p', { class: 'muted' }, e.message));
  }
  bar.remove();
}

export async function overview(root) {
  if (!live.status) live.status = await api.get('/v1/status').catch((e) => { if (e.status === 401) throw e; live.error = e; return null; });
  const parts = { health: h('div'), tiles: h('div', { class: 'tiles' }), attacks: h('div'), jails: h('div'), lists: h('div') };
  root.append(parts.health, parts.tiles, h('div', { class: 'grid' }, card('Attacks now', parts.attacks), card('Jails', parts.jails)), parts.lists);
  const gone = new AbortController();
  let reports = null;
  let latency = null;
  let fleet = null;
  let shown = '';
  const draw = () => {
    const text = JSON.stringify([live.error?.message, live.status?.problems, live.status?.bans, live.status?.firewall.ok, reports?.destinations, others.configured(fleet) && others.trouble(fleet)]);
    if (shown !== text) { // a live region is read aloud at each change
      shown = text;
      update(parts.health, health(reports, fleet));
    }
    if (!live.status) return;
    update(parts.tiles, tiles(reports, latency, fleet));
    update(parts.attacks, attacks());
    update(parts.jails, jails());
    update(parts.lists, blockLists());
  };
  trail(root, gone.signal);
  const more = async () => {
    if (live.status?.reports) reports = await api.get('/report/v1/status').catch(() => null);
    fleet = await api.get('/v1/fleet').catch(() => null);
    latency = latencyOf(await api.text('/metrics').catch(() => ''));
    draw();
  };
  draw();
  const end = listen(draw);
  const timer = setInterval(more, 15000);
  more();
  return () => {
    end();
    clearInterval(timer);
    gone.abort();
  };
}
