// The configuration in use, each setting with its origin, and the allow list.

import * as api from './api.js';
import { disallowButton, reloadButton } from './act.js';
import { card, h, show, table } from './dom.js';
import { address, time, until } from './format.js';
import { link } from './overview.js';

export async function configuration(root) {
  const [text, allow, status] = await Promise.all([api.text('/v1/config'), api.get('/v1/allow'), api.get('/v1/status')]);
  const lines = text.split('\n');
  const pre = h('pre', { id: 'config', tabindex: '0' });
  const draw = (word) => show(pre, lines.filter((l) => !word || l.toLowerCase().includes(word.toLowerCase())).map((l) => {
    const i = l.lastIndexOf('  # ');
    return i < 0 ? [l, h('br')] : [l.slice(0, i), h('span', { class: 'muted' }, l.slice(i)), h('br')];
  }));
  draw('');
  const find = h('input', { id: 'find', type: 'search', autocomplete: 'off', oninput: () => draw(find.value) });
  root.append(card('Files', status.config.length ? h('ul', {}, status.config.map((f) => h('li', {}, h('code', {}, f)))) : h('p', {}, 'No file: the defaults are in effect.'),
    status.config_error ? h('p', { class: 'bad notice' }, status.config_error) : null, h('p', { class: 'muted' }, `in use since ${time(status.reloaded ?? status.started)}`), api.canChange() ? reloadButton() : null));
  const change = api.canChange();
  root.append(card('Never banned', table('Allow list', ['Prefix', 'From', 'Until', 'Comment', ...(change ? [''] : [])], allow.slice(0, 500).map((a) => [link(a.prefix, address(a.prefix)), a.list ? `list ${a.list}` : a.session ? `${a.session.user} is logged in (${a.session.why})` : a.origin, until(a.until), a.comment ?? '', ...(change ? [a.source === 'runtime' ? disallowButton(a) : ''] : [])])),
    allow.length > 500 ? h('p', { class: 'muted' }, `and ${allow.length - 500} more: bailiff allow`) : null));
  root.append(card('Settings', h('div', { class: 'tools' }, h('label', { for: 'find' }, 'Find', find)), pre));
}
