// Calls. The same page runs in two places: served by bailiff-web, which passes read calls on to the control socket, and as a package
// of Cockpit, which connects to the control socket itself, as the user who is logged in or, with administrative access, as root.

const controlSocket = '/run/bailiff/control';
const reportSocket = '/run/bailiff-report/control';

// Failure is a call that failed. status 0: there was no answer.
export class Failure extends Error {
  constructor(status, message, hint, stopped) {
    super(message);
    Object.assign(this, { status, hint, stopped });
  }
}

export const inCockpit = location.pathname.includes('/cockpit/');

const query = (params) => {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params ?? {})) if (v !== undefined && v !== null && v !== '' && v !== false) q.set(k, v);
  const t = q.toString();
  return t ? '?' + t : '';
};

const failure = (status, body, fallback) => {
  let e = {};
  try { e = JSON.parse(body); } catch { /* not ours */ }
  const message = e.error ?? fallback ?? `error ${status}`;
  return new Failure(status, message, e.hint, status === 503 && /not running/.test(message));
};

// lines calls f with each JSON line of a text that comes in pieces.
function lines(f) {
  let rest = '';
  return (piece) => {
    rest += piece;
    const l = rest.split('\n');
    rest = l.pop();
    for (const x of l) if (x) f(JSON.parse(x));
  };
}

const web = {
  canChange: false,
  token: null,

  async ready() {
    this.token = localStorage.getItem('token');
    takeToken();
  },

  open(path, signal) {
    const headers = this.token ? { Authorization: 'Bearer ' + this.token } : {};
    return fetch(path, { headers, signal, cache: 'no-store', credentials: 'omit', redirect: 'error' })
      .catch((e) => { throw e.name === 'AbortError' ? e : new Failure(0, 'bailiff-web is not answering', 'systemctl status bailiff-web.socket'); });
  },

  async text(path, signal) {
    const r = await this.open(path, signal);
    const body = await r.text();
    if (!r.ok) throw failure(r.status, body);
    return body;
  },

  async stream(path, f, signal) {
    const r = await this.open(path, signal);
    if (!r.ok) throw failure(r.status, await r.text());
    const take = lines(f);
    const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      take(value);
    }
  },
};

const cockpitBridge = {
  canChange: false,
  user: '',

  async ready(changed) {
    await new Promise((resolve, reject) => {
      const e = document.createElement('script');
      e.src = '../base1/cockpit.js';
      e.onload = resolve;
      e.onerror = () => reject(new Failure(0, 'Cockpit is not answering'));
      document.head.append(e);
    });
    const { cockpit } = window;
    this.user = (await cockpit.user()).name;
    const permission = cockpit.permission({ admin: true });
    const update = () => {
      const can = permission.allowed === true;
      if (can !== this.canChange) {
        this.canChange = can;
        changed();
      }
    };
    permission.addEventListener('changed', update);
    update();
    this.refused = { 'not-found': 'no right to read, or no daemon', 'access-denied': 'no right to read' };
  },

  // A connection to systemd's socket would start a stopped daemon, so systemd is asked before each call. Its answer is not kept:
  // when the daemon stops, its streams end, and what is called next must not go by what was true before.
  async started(unit) {
    const state = await window.cockpit.spawn(['systemctl', 'show', '--property=ActiveState', '--value', unit], { err: 'ignore' }).then((s) => s.trim(), () => '');
    if (state === 'inactive' || state === 'failed' || state === 'deactivating') {
      throw new Failure(503, `the daemon is not running: ${unit} ${{ inactive: 'is stopped', failed: 'has failed', deactivating: 'is being stopped' }[state]}`, `systemctl start ${unit}`, true);
    }
  },

  async call(path, { method = 'GET', body, onData, signal } = {}) {
    const report = path.startsWith('/report/');
    if (method === 'GET') await this.started(report ? 'bailiff-report.service' : 'bailiff.service');
    signal?.throwIfAborted();
    const headers = method === 'GET' ? {} : { 'Content-Type': 'application/json', 'Bailiff-User': this.user };
    const http = window.cockpit.http({ unix: report ? reportSocket : controlSocket, superuser: 'try' });
    const request = http.request({ method, path: report ? path.slice('/report'.length) : path, headers, body: body ? JSON.stringify(body) : '' });
    if (onData) request.stream(onData);
    signal?.addEventListener('abort', () => http.close());
    return new Promise((resolve, reject) => {
      request.then(resolve, (e, text) => {
        if (signal?.aborted) reject(new DOMException('aborted', 'AbortError'));
        else if (e.status) reject(failure(e.status, text, e.message));
        else reject(new Failure(0, this.refused[e.problem] ?? e.message, 'log in as a member of group bailiff, or turn on administrative access'));
      });
    });
  },

  text(path, signal) { return this.call(path, { signal }); },
  async stream(path, f, signal) { await this.call(path, { onData: lines(f), signal }); },
};

const transport = inCockpit ? cockpitBridge : web;

// ready prepares the transport. changed is called when the right to change something comes or goes.
export const ready = (changed) => transport.ready(changed);
export const canChange = () => transport.canChange;
export const get = async (path, params, signal) => JSON.parse(await transport.text(path + query(params), signal));
export const text = (path, params, signal) => transport.text(path + query(params), signal);
export const stream = (path, params, f, signal) => transport.stream(path + query(params), f, signal);

// change is a call that changes something. Only Cockpit has it.
export async function change(method, path, params, body) {
  const answer = await transport.call(path + query(params), { method, body });
  return answer ? JSON.parse(answer) : null;
}

// takeToken takes the token out of the address, where the link of `bailiff web` has it. It reports whether there was one.
export function takeToken() {
  const given = inCockpit ? null : /^#([A-Za-z0-9_-]{43})$/.exec(location.hash);
  if (given) {
    enter(given[1]);
    history.replaceState(null, '', location.pathname + '#/');
  }
  return given !== null;
}

// enter keeps a token that was typed in.
export function enter(token) {
  localStorage.setItem('token', token);
  web.token = token;
}
