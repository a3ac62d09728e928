// The page: navigation, and the view that the address after # names. Views are functions (root, params) that fill an element, and
// return what ends them, if anything.

import * as api from './api.js';
import { clean, fault, h, show } from './dom.js';
import { follow, live, listen } from './live.js';
import { bans } from './bans.js';
import { configuration } from './configuration.js';
import { feed } from './feed.js';
import { filters } from './filters.js';
import { fleet } from './fleet.js';
import { overview } from './overview.js';
import { past } from './past.js';
import { reports } from './reports.js';
import { story } from './address.js';

const views = {
  '': { title: 'Overview', run: overview },
  bans: { title: 'Bans', run: bans },
  live: { title: 'Live', run: feed },
  history: { title: 'History', run: past },
  filters: { title: 'Filters', run: filters },
  configuration: { title: 'Configuration', run: configuration },
  address: { title: 'Address', run: story, under: 'bans' },
  fleet: { title: 'Fleet', run: fleet, under: '' },
  reports: { title: 'Reports', run: reports, under: '' },
};

const main = document.getElementById('main');
let leave = null;

// route is the view and its parameters: #/bans?jail=sshd
function route() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/');
  return { name, rest: rest.map(decodeURIComponent), params: new URLSearchParams(query ?? '') };
}

let opened = 0; // counts, so that a view that was left while it loaded ends

async function open() {
  const mine = ++opened;
  const to = route();
  const view = views[to.name] ?? views[''];
  leave?.();
  leave = null;
  document.title = `${view.title} – bailiff`;
  for (const a of document.querySelectorAll('nav a')) {
    if (a.getAttribute('href') === '#/' + (view.under ?? (views[to.name] ? to.name : ''))) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  const root = h('div', { class: 'view' }, h('h1', {}, view.title));
  show(main, root);
  try {
    const end = await view.run(root, to);
    if (mine === opened) leave = end;
    else end?.();
  } catch (e) {
    root.append(e.status === 401 ? signIn(e) : fault(e));
  }
  root.setAttribute('data-ready', '');
}

// signIn asks for the token, which callers over TCP need.
function signIn(e) {
  const field = h('input', { id: 'token', type: 'password', autocomplete: 'off', required: true, pattern: '[A-Za-z0-9_\\-]{43}', title: 'the 43 characters after # in the link' });
  return h('form', {
    class: 'card', id: 'sign-in',
    onsubmit: (event) => {
      event.preventDefault();
      api.enter(field.value.trim());
      follow();
      open();
    },
  }, h('p', {}, e.message + '.'), h('p', {}, 'On the host, as root or a member of group bailiff, ', h('code', {}, 'bailiff web'), ' prints a link to open. Or enter the token:'),
  h('label', { for: 'token' }, 'Token'), field, h('button', {}, 'Open'));
}

function frame() {
  show(document.getElementById('nav'), Object.entries(views).filter(([, v]) => v.under === undefined).map(([name, v]) => h('a', { href: '#/' + name }, v.title)));
  listen(() => {
    const v = live.status?.version;
    show(document.getElementById('foot'), v ? `bailiff ${clean(v)}` : '');
  });
}

async function start() {
  frame();
  await api.ready(() => { if (opened) open(); });
  window.addEventListener('hashchange', () => {
    if (api.takeToken()) follow();
    open();
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  });
  await open();
  follow();
}

start().catch((e) => show(main, fault(e)));
