// The daemon's events, and what the page keeps of them: the same as bailiff top does. One stream serves all views; it is closed
// while the page is hidden.

import * as api from './api.js';

const window_ = 60; // seconds: what "now" is
const maxAttacks = 2000;
const maxEvents = 300;

// Rate counts events in each of the last 60 seconds.
class Rate {
  constructor() {
    this.at = 0;
    this.sum = new Array(window_).fill(0);
  }
  move(now) {
    if (now - this.at >= window_) {
      this.sum.fill(0);
      this.at = now;
    }
    while (this.at < now) this.sum[++this.at % window_] = 0;
  }
  add(now, n) {
    this.move(now);
    this.sum[now % window_] += n;
  }
  in(now, n) {
    this.move(now);
    let t = 0;
    for (let i = 0; i < n; i++) t += this.sum[(now - i) % window_];
    return t;
  }
  // list is the last 60 seconds, the oldest first.
  list(now) {
    this.move(now);
    return Array.from({ length: window_ }, (_, i) => this.sum[(now - window_ + 1 + i) % window_]);
  }
}

export const live = {
  status: null, // the daemon's answer to /v1/status, kept up to date
  error: null, // why there is no stream, or no answer
  failures: new Rate(),
  bans: new Rate(),
  jails: new Map(),
  attacks: new Map(),
  events: [], // the newest first
  missed: 0,
  seq: 0,
};

export const second = () => Math.floor(Date.now() / 1000);

const listeners = new Set();
let pending = 0;

// listen calls f after changes, at most four times a second. It returns what ends that.
export function listen(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

function changed() {
  pending ||= setTimeout(() => {
    pending = 0;
    for (const f of listeners) f();
  }, 250);
}

function jailOf(name) {
  return live.status?.jails.find((j) => j.name === name) ?? {};
}

function take(e) {
  const now = second();
  switch (e.kind) {
    case 'status':
      live.status = e.status;
      live.error = null;
      break;
    case 'failure': {
      const n = Math.max(1, e.attempts ?? 0);
      live.failures.add(now, n);
      if (!live.jails.has(e.jail)) live.jails.set(e.jail, new Rate());
      live.jails.get(e.jail).add(now, n);
      const j = jailOf(e.jail);
      j.failures = (j.failures ?? 0) + 1;
      j.last_failure = e.time;
      const key = e.jail + ' ' + e.prefix;
      let a = live.attacks.get(key);
      if (!a) {
        if (live.attacks.size >= maxAttacks) forget(now);
        if (live.attacks.size >= maxAttacks) return;
        live.attacks.set(key, a = { jail: e.jail, prefix: e.prefix, rate: new Rate() });
      }
      a.rate.add(now, n);
      Object.assign(a, { last: now, address: e.address, count: e.count ?? 0, max: e.max_retry ?? 0, pattern: e.pattern, banned: false });
      break;
    }
    case 'ban': case 'extend': {
      live.bans.add(now, 1);
      if (e.kind === 'ban' && live.status) {
        live.status.bans++;
        live.status.bans_total++;
        const j = jailOf(e.jail);
        j.bans = (j.bans ?? 0) + 1;
      }
      const a = live.attacks.get(e.jail + ' ' + e.prefix);
      if (a) a.banned = true;
      break;
    }
    case 'unban':
      if (live.status) {
        live.status.bans = Math.max(0, live.status.bans - 1);
        const j = jailOf(e.jail);
        j.bans = Math.max(0, (j.bans ?? 0) - 1);
      }
      break;
    case 'missed':
      live.missed += e.missed;
      live.failures.add(now, Math.min(e.missed, 1 << 20));
      refresh();
      break;
    case 'state':
      refresh();
      break;
  }
  if (e.kind !== 'status') {
    e.seq = ++live.seq;
    live.events.unshift(e);
    if (live.events.length > maxEvents) live.events.length = maxEvents;
  }
  changed();
}

// forget drops attacks that are over.
export function forget(now) {
  for (const [k, a] of live.attacks) if (now - a.last >= window_) live.attacks.delete(k);
}

let asking = false;

// refresh asks for the daemon's own numbers.
export async function refresh() {
  if (asking) return;
  asking = true;
  try {
    live.status = await api.get('/v1/status');
    live.error = null;
  } catch (e) {
    live.error = e;
  }
  asking = false;
  changed();
}

let current = null;
let open = null; // what ends the stream that is open

// follow reads events as long as the page is visible, and connects again when the daemon went away.
export async function follow() {
  current?.abort();
  if (document.hidden) return;
  const mine = current = new AbortController();
  for (let pause = 1000; !mine.signal.aborted; pause = Math.min(pause * 2, 10000)) {
    try {
      await api.stream('/v1/events', {}, (e) => { pause = 1000; open = mine; take(e); }, mine.signal);
      live.error = new api.Failure(0, 'the daemon has stopped', 'systemctl status bailiff', true);
    } catch (e) {
      if (mine.signal.aborted) return;
      live.error = e;
    }
    open = null;
    changed();
    await new Promise((done) => { setTimeout(done, pause); });
  }
}

document.addEventListener('visibilitychange', follow);
setInterval(() => { if (!document.hidden) changed(); }, 1000);
// Without a stream, follow is what tries again. Otherwise a call that failed is made again here.
setInterval(() => { if (open && !open.signal.aborted) refresh(); }, 15000);
