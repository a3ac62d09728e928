// The page: navigation, and the view that the address after # names. Views are functions (root, params) that fill an element, and
// return what ends them, if anything.

import * as api from './api.js';
import { clean, fault, h, show } from './dom.js';
import { follow, live, listen } from './live.js';
import { overview } from './overview.js';

const views = {
  '': { title: 'Overview', run: overview },
};

const main = document.getElementById('main');
let leave = null;

// route is the view and its parameters: #/bans?jail=sshd
function route() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/');
  return { name, rest: rest.map(decodeURIComponent), params: new URLSearchParams(query ?? '') };
}

async function open() {
  const to = route();
  const view = views[to.name] ?? views[''];
  leave?.();
  leave = null;
  document.title = `${view.title} – bailiff`;
  for (const a of document.querySelectorAll('nav a')) {
    if (a.getAttribute('href') === '#/' + (view.under ?? to.name)) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  const root = h('div', { class: 'view' }, h('h1', {}, view.title));
  show(main, root);
  try {
    leave = await view.run(root, to);
  } catch (e) {
    root.append(e.status === 401 ? signIn(e) : fault(e));
  }
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
  show(document.getElementById('nav'), Object.entries(views).filter(([, v]) => !v.under).map(([name, v]) => h('a', { href: '#/' + name }, v.title)));
  listen(() => {
    const v = live.status?.version;
    show(document.getElementById('foot'), v ? `bailiff ${clean(v)}` : '');
  });
}

async function start() {
  frame();
  await api.ready(() => { if (leave !== undefined) open(); });
  window.addEventListener('hashchange', () => {
    open();
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  });
  await open();
  follow();
}

start().catch((e) => show(main, fault(e)));
