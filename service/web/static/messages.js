// The words of the page in the person's language, and how that language writes numbers, sizes and times.

let texts = {};
let problems = {};
let plural = new Intl.PluralRules("en");
let formats = new Map(); // to make one takes longer than to use it a hundred times

export function language() {
  return document.documentElement.lang;
}

export async function speak(wanted) {
  const answer = await fetch(`/static/${wanted}.json`);
  if (!answer.ok) throw new Error(`no words for ${wanted}`);
  texts = await answer.json();
  problems = wanted === "en" ? {} : await (await fetch(`/static/problems-${wanted}.json`)).json();
  plural = new Intl.PluralRules(wanted);
  formats = new Map();
  document.documentElement.lang = wanted;
}

// Returns a text; `{name}` in it is replaced by the value of that name, and `count` decides between plural forms.
export function t(key, values = {}) {
  let text = texts[key];
  if (typeof text === "object") text = text[plural.select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : value;
  });
}

// Returns what the code of a problem means, in a language other than the service's own, or nothing.
export function problemText(code) {
  return problems[code];
}

export function number(value, digits = 0) {
  if (!formats.has(digits)) formats.set(digits, new Intl.NumberFormat(language(), { maximumFractionDigits: digits }));
  return formats.get(digits).format(value);
}

export function percent(part) {
  return new Intl.NumberFormat(language(), { style: "percent", maximumFractionDigits: 0 }).format(part);
}

export function bytes(size) {
  const [unit, by] = size >= 1e9 ? ["gigabyte", 1e9] : size >= 1e6 ? ["megabyte", 1e6] : ["kilobyte", 1e3];
  const digits = size / by < 10 ? 1 : 0;
  return new Intl.NumberFormat(language(), { style: "unit", unit, maximumFractionDigits: digits }).format(size / by);
}

export function moment(text) {
  return new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
}

export function timeOfDay(text) {
  return new Intl.DateTimeFormat(language(), { timeStyle: "medium" }).format(new Date(text));
}

export function days(from, to) {
  return new Intl.DateTimeFormat(language(), { dateStyle: "medium" }).formatRange(from, to);
}

export function seconds(from, to) {
  const whole = Math.max(1, Math.round((new Date(to) - new Date(from)) / 1000));
  return whole < 120 ? t("seconds", { count: whole }) : t("minutes", { count: Math.round(whole / 60) });
}

export function list(items) {
  return new Intl.ListFormat(language(), { type: "conjunction" }).format(items);
}
