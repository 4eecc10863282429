// Numbers and times as people read them. Pure functions: no document, no clock.

const NONE = "–";
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDecimal = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const known = (value) => typeof value === "number" && Number.isFinite(value);

// 12,345; from a million on, three digits and a letter.
export function count(value) {
  if (!known(value)) return NONE;
  for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${letter}`;
  }
  return grouped.format(value);
}

// A number of things in a second.
export function rate(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  if (value < 0.1) return "<0.1";
  return value < 10 ? oneDecimal.format(value) : count(Math.round(value));
}

export function share(part, whole) {
  if (!known(part) || !whole) return NONE;
  const percent = (part / whole) * 100;
  if (percent === 0) return "0%";
  if (percent < 0.1) return "<0.1%";
  if (percent > 99.9 && percent < 100) return ">99.9%";
  return percent < 10 || (percent > 99 && percent < 100) ? `${oneDecimal.format(percent)}%` : `${Math.round(percent)}%`;
}

// Microseconds, as µs, ms or s with two or three digits.
export function micros(value) {
  if (!known(value)) return NONE;
  if (value < 1_000) return `${Math.round(value)} µs`;
  if (value < 9_950) return `${oneDecimal.format(value / 1_000)} ms`;
  if (value < 999_500) return `${Math.round(value / 1_000)} ms`;
  return value < 9_950_000 ? `${oneDecimal.format(value / 1_000_000)} s` : `${grouped.format(value / 1_000_000)} s`;
}

export function bytes(value) {
  if (!known(value)) return NONE;
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return `${oneDecimal.format(value / size)} ${unit}`;
  }
  return `${value} B`;
}

// Seconds, as the two largest units.
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3_600) % 24, Math.floor(whole / 60) % 60];
  if (days >= 10) return `${grouped.format(days)} days`;
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return minutes ? `${minutes} min` : `${whole} s`;
}

export function relative(at, now) {
  if (!known(at)) return NONE;
  const seconds = now - at;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
}

const two = (value) => String(value).padStart(2, "0");
// 14:03 and 14:03:22 of whoever looks at it.
export const minute = (at) => {
  const time = new Date(at * 1_000);
  return `${two(time.getHours())}:${two(time.getMinutes())}`;
};
export const clock = (at) => `${minute(at)}:${two(new Date(at * 1_000).getSeconds())}`;
export const iso = (at) => new Date(at * 1_000).toISOString().replace(".000Z", "Z");
export const day = (at) => iso(at).slice(0, 10);

// One thing, two things.
export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
