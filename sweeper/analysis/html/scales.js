/* From values to places, and the labels that fit there. */

/** 1, 2 or 5 × 10ⁿ: about `count` round numbers in [low, high]. */
function roundNumbers(low, high, count) {
  const raw = (high - low) / Math.max(count, 1);
  if (!(raw > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Powers of ten in [low, high], with 2 and 5 between them where there are few. */
function logNumbers(low, high) {
  const numbers = [];
  const few = Math.log10(high / low) < 2.5;
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const digit of few ? [1, 2, 5] : [1]) numbers.push(Number((digit * 10 ** power).toPrecision(3)));
  }
  return numbers.filter((number) => number >= low && number <= high);
}

/** A number as people read it: four digits, thousands apart, a true minus. */
function written(number) {
  const size = Math.abs(number);
  const text = size >= 1000 ? Math.round(size).toLocaleString("en-US") : String(Number(size.toPrecision(4)));
  return (number < 0 ? "−" : "") + text;
}

/** [place, text] of numbers. */
function labelled(numbers) {
  return numbers.map((number) => [number, written(number)]);
}

/** Limits of a plain axis: from 0 where the values start near it, with some air. */
function plainLimits(values) {
  const high = Math.max(...values);
  const low = Math.min(...values);
  if (!values.length) return [0, 1];
  if (low >= 0 && low < 0.5 * high) return [-0.025 * high, 1.05 * high];
  const pad = 0.05 * (high - low || Math.abs(high) || 1);
  return [low - pad, high + pad];
}

function logLimits(values) {
  return values.length ? [Math.min(...values) / 1.3, Math.max(...values) * 1.3] : [0.1, 1];
}

/** A scale from [low, high] to [from, to], linear or logarithmic. */
function scale(low, high, from, to, log = false) {
  const place = log ? Math.log10 : (value) => value;
  const span = place(high) - place(low) || 1;
  return (value) => from + ((place(value) - place(low)) / span) * (to - from);
}

/** [place, text] of the ticks that keep `room` apart, the first of the list first. */
function spaced(ticks, toPixels, room) {
  const kept = [];
  for (const tick of ticks) {
    if (kept.every((other) => Math.abs(toPixels(other[0]) - toPixels(tick[0])) >= room)) kept.push(tick);
  }
  return kept;
}
