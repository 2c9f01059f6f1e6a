// Numbers as people read them.

/** 16448 -> "16,448"; what is no whole number has three digits behind the point. */
export function shown(value) {
  return Number.isInteger(value) ? value.toLocaleString("en-US").replace("-", "−") : fixed(value, 3);
}

/** A number with `digits` behind the point and a true minus sign. */
export function fixed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** How often `value` is in `whole`: "15.98×". */
export function times(value) {
  return `${value.toFixed(2)}×`;
}

/** 0.966 -> "96.6%". */
export function percent(value) {
  return `${(100 * value).toFixed(1)}%`;
}
