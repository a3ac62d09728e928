// Building the document. Text from the daemon may be an attacker's: it gets into the document as text nodes and attribute values
// only, and characters that reorder or hide text are shown by their codes.

const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\u{e0000}|[\u{e0001}-\u{e0fff}]/gu;

// clean shows control characters, marks of direction and invisible characters by their codes.
export function clean(s) {
  return String(s ?? '').replace(hidden, (c) => '\\u{' + c.codePointAt(0).toString(16) + '}');
}

// h makes an element: h('a', {href: '#/'}, 'text', child, [more]). Attributes that begin with "on" are listeners; false and null leave
// one out.
export function h(tag, attrs, ...kids) {
  return fill(document.createElement(tag), attrs, kids);
}

// s is h for SVG.
export function s(tag, attrs, ...kids) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attrs, kids);
}

function fill(e, attrs, kids) {
  for (const [k, v] of Object.entries(attrs ?? {})) {
    if (v === false || v === null || v === undefined) continue;
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (k === 'value') e.value = v;
    else e.setAttribute(k, v === true ? '' : clean(v));
  }
  append(e, kids);
  return e;
}

function append(e, kids) {
  for (const kid of kids) {
    if (kid === null || kid === undefined || kid === false) continue;
    if (Array.isArray(kid)) append(e, kid);
    else e.append(kid instanceof Node ? kid : document.createTextNode(clean(kid)));
  }
}

// show replaces what an element holds.
export function show(e, ...kids) {
  e.replaceChildren();
  append(e, kids);
}

// table makes a table from heads and rows of cells. A head is text, or {text, num: true} for a column of numbers.
export function table(caption, heads, rows, none) {
  if (!rows.length) return h('p', { class: 'muted' }, none ?? 'None.');
  const num = heads.map((x) => x.num);
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', {}, caption),
      h('thead', {}, h('tr', {}, heads.map((x) => h('th', { scope: 'col', class: x.num && 'num' }, x.text ?? x)))),
      h('tbody', {}, rows.map((r) => h('tr', {}, r.map((c, i) => h('td', { class: num[i] && 'num', 'data-label': heads[i].text ?? heads[i] }, c)))))));
}

// card is a titled part of a view.
export function card(title, ...kids) {
  return h('section', { class: 'card' }, h('h2', {}, title), kids);
}

// command shows what to type, with a button that copies it.
export function command(text) {
  const b = h('button', {
    type: 'button', class: 'copy', 'aria-label': 'Copy: ' + text,
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        b.textContent = 'copied';
      } catch { // not over plain HTTP from another machine
        b.textContent = 'not copied';
      }
      setTimeout(() => { b.textContent = 'copy'; }, 1500);
    },
  }, 'copy');
  return h('span', { class: 'command' }, h('code', {}, text), b);
}

// fault shows an error of a call.
export function fault(e) {
  return h('div', { class: 'bad notice', role: 'alert' }, h('strong', {}, e.message), e.hint ? h('p', {}, e.hint) : null);
}
