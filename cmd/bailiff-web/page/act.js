// What an administrator changes, in Cockpit. Each change is confirmed first, and the daemon writes it to the audit trail with the name
// of the user who is logged in.

import * as api from './api.js';
import { clean, fault, h, show } from './dom.js';
import { address } from './format.js';

// confirm asks, and carries out on yes. fields are inputs with labels.
function confirm(title, text, verb, fields, run) {
  const failed = h('div');
  const yes = h('button', { class: 'main' }, verb);
  const d = h('dialog', { 'aria-label': title }, h('form', {
    onsubmit: async (e) => {
      e.preventDefault();
      yes.disabled = true;
      try {
        const said = await run();
        d.close();
        tell(said);
      } catch (x) {
        yes.disabled = false;
        show(failed, fault(x));
      }
    },
  }, h('h2', {}, title), text ? h('p', {}, text) : null, fields, failed, h('div', { class: 'tools' }, yes, h('button', { type: 'button', onclick: () => d.close() }, 'Cancel'))));
  d.addEventListener('close', () => d.remove());
  document.body.append(d);
  d.showModal();
}

// tell says what was done, and shows the view anew.
function tell(text) {
  window.dispatchEvent(new HashChangeEvent('hashchange'));
  const note = h('p', { class: 'good notice', role: 'status', id: 'done' }, text);
  document.getElementById('main').prepend(note);
  setTimeout(() => note.remove(), 8000);
}

const input = (label, attrs) => {
  const e = h('input', { autocomplete: 'off', ...attrs });
  return [e, h('label', { for: attrs.id }, label, e)];
};

export function banDialog(of) {
  const [who, l1] = input('Address or prefix', { id: 'ban-prefix', value: of ?? '', required: true });
  const [long, l2] = input('For (10m, 48h, 4w, forever); empty: as configured', { id: 'ban-duration' });
  const [why, l3] = input('Reason', { id: 'ban-reason', maxlength: 200 });
  confirm('Ban', 'All traffic from there is dropped.', 'Ban', [l1, l2, l3], async () => {
    const l = await api.change('POST', '/v1/bans', {}, { prefixes: [who.value.trim()], duration: long.value.trim(), reason: why.value.trim() });
    return `${l.map((b) => address(b.prefix)).join(', ')} is banned.`;
  });
}

export const unbanButton = (b) => h('button', {
  type: 'button', class: 'unban', 'aria-label': `Unban ${clean(address(b.prefix))}`,
  onclick: () => confirm('Unban', `${address(b.prefix)}, banned by ${b.jail}. What was counted against it is forgotten.`, 'Unban', [], async () => {
    const r = await api.change('DELETE', '/v1/bans', { prefix: b.prefix, jail: b.jail });
    return `${address(b.prefix)}: ${r.removed} lifted.`;
  }),
}, 'Unban');

export function allowDialog(of) {
  const [who, l1] = input('Address or prefix', { id: 'allow-prefix', value: of ?? '', required: true });
  const [long, l2] = input('For (2h, 4w); empty: forever', { id: 'allow-duration' });
  const [why, l3] = input('Comment', { id: 'allow-comment', maxlength: 200 });
  confirm('Allow', 'It is never banned, and its bans are lifted.', 'Allow', [l1, l2, l3], async () => {
    const r = await api.change('POST', '/v1/allow', {}, { prefix: who.value.trim(), duration: long.value.trim(), comment: why.value.trim() });
    return `${address(r.entry.prefix)} is allowed; ${r.lifted} bans lifted.`;
  });
}

export const disallowButton = (a) => h('button', {
  type: 'button', 'aria-label': `Remove ${clean(address(a.prefix))}`,
  onclick: () => confirm('Remove from the allow list', address(a.prefix), 'Remove', [], async () => {
    await api.change('DELETE', '/v1/allow', { prefix: a.prefix });
    return `${address(a.prefix)} is no longer allowed.`;
  }),
}, 'Remove');

export const reloadButton = () => h('button', {
  type: 'button', id: 'reload',
  onclick: () => confirm('Reload', 'The configuration is read again. If it has an error, the running one stays in effect.', 'Reload', [], async () => {
    const r = await api.change('POST', '/v1/reload', {});
    return `Reloaded: ${r.jails.length} jails.`;
  }),
}, 'Reload…');
