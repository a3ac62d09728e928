// The live feed: each failure, ban and unban as it happens.

import { h, show } from './dom.js';
import { address, clock, number, reason, until } from './format.js';
import { listen, live } from './live.js';
import { link } from './overview.js';

const texts = {
  failure: (e) => [link(e.prefix, e.address), ` failed (${e.jail}, ${e.pattern}): ${e.count ?? 0} of ${e.max_retry ?? 0}`],
  ban: (e) => [link(e.prefix), ` banned by ${e.jail} until ${until(e.until)}: ${reason(e)}${e.by ? `, by ${e.by}` : e.failures ? `, ${number(e.failures)} attempts` : ''}`],
  extend: (e) => [link(e.prefix), ` ban by ${e.jail} prolonged until ${until(e.until)}`],
  unban: (e) => [link(e.prefix), ` no longer banned by ${e.jail}: ${e.reason ?? ''}${e.by ? `, by ${e.by}` : ''}`],
  state: (e) => [e.text],
  missed: (e) => [`${number(e.missed)} events were left out: too many at once`],
};

export async function feed(root) {
  let paused = false;
  let only = '';
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', onclick: () => { paused = !paused; pause.setAttribute('aria-pressed', paused); show(pause, paused ? 'Continue' : 'Pause'); draw(); } }, 'Pause');
  const choose = h('select', { id: 'kind', onchange: () => { only = choose.value; show(list); last = 0; draw(); } }, [['', 'Everything'], ['ban', 'Bans and unbans'], ['failure', 'Failures']].map(([v, t]) => h('option', { value: v }, t)));
  const list = h('ol', { class: 'feed', id: 'feed', 'aria-label': 'Events, the newest first' });
  const note = h('p', { class: 'muted', role: 'status' });
  root.append(h('div', { class: 'tools' }, h('label', { for: 'kind' }, 'Show', choose), pause), note, h('div', { class: 'card' }, list));
  let last = 0;
  const wanted = (e) => !only || (only === 'ban' ? ['ban', 'extend', 'unban'].includes(e.kind) : e.kind === only);
  const draw = () => {
    show(note, live.error ? live.error.message : paused ? 'Paused' : live.events.length ? '' : 'Nothing has happened since this page was opened.');
    if (paused) return;
    const fresh = live.events.filter((e) => e.seq > last && wanted(e));
    last = live.seq;
    list.prepend(...fresh.map((e) => h('li', { class: e.kind }, h('time', { datetime: e.time, class: 'muted' }, clock(e.time)), ' ', texts[e.kind]?.(e) ?? [address(e.prefix)])));
    while (list.children.length > 300) list.lastChild.remove();
  };
  draw();
  return listen(draw);
}
