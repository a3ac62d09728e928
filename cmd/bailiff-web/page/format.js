// Numbers and times as text.

const count = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const number = (n) => count.format(n ?? 0);
export const short = (n) => (n < 10000 ? count.format(n ?? 0) : compact.format(n));

// address leaves out the length of a prefix that is one address.
export const address = (p) => String(p ?? '').replace(/^([0-9.]+)\/32$|^([0-9a-fA-F:]+)\/128$/, '$1$2');

const two = (n) => String(n).padStart(2, '0');

// time is local time: 2026-11-29 14:02:11.
export function time(t) {
  if (!t) return '';
  const d = new Date(t);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export const clock = (t) => time(t).slice(11);
export const until = (t) => (t ? time(t).slice(0, 16) : 'forever');

// duration is the largest two units: 3d4h, 12m5s.
export function duration(seconds) {
  let s = Math.max(0, Math.round(seconds));
  const out = [];
  for (const [n, name] of [[86400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']]) {
    if (s >= n) {
      out.push(Math.floor(s / n) + name);
      s %= n;
    } else if (out.length) break;
    if (out.length === 2) break;
  }
  return out.join('') || '0s';
}

export const ago = (t) => (t ? duration((Date.now() - new Date(t)) / 1000) + ' ago' : 'never');

export function bytes(n) {
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (n < 1000 || unit === 'TB') return (n < 10 && unit !== 'B' ? n.toFixed(1) : Math.round(n)) + ' ' + unit;
    n /= 1000;
  }
}

export const plural = (n, one, many) => `${number(n)} ${n === 1 ? one : many ?? one + 's'}`;

// reasons are the texts of the daemon's own reasons for a ban.
export const reasons = { failures: 'too many failures', slow: 'slow attack', account: 'attack on one account', network: 'attacking network' };
export const reason = (b) => (b.by ? b.reason || 'by hand' : reasons[b.reason] ?? b.reason ?? '');
