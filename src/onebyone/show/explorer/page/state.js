// What can be set on the page, and how the address keeps it: #at=pixel&pixel.x=3&pixel.w=0.5

/** A whole number from `min` to `max`. */
export function integer(value, min, max) {
  return { kind: "integer", value, min, max, step: 1 };
}

/** Any number from `min` to `max`; a slider moves it by `step`. */
export function number(value, min, max, step) {
  return { kind: "number", value, min, max, step };
}

/** On or off. */
export function flag(value) {
  return { kind: "flag", value };
}

/** One of a few words or numbers; `options` are [[value, label], ...]. */
export function choice(value, options) {
  return { kind: "choice", value, options };
}

/** The values that the fields have before anything is touched. */
export function initial(fields) {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value]));
}

/** What `text` says of a field, or undefined where it says nothing that the field may be. */
function read(field, text) {
  if (field.kind === "flag") return { on: true, off: false }[text];
  if (field.kind === "choice") return field.options.map(([value]) => value).find((value) => String(value) === text);
  const value = text.trim() === "" ? NaN : Number(text);
  const fits = value >= field.min && value <= field.max;
  return fits && (field.kind === "number" || Number.isInteger(value)) ? value : undefined;
}

function written(field, value) {
  return field.kind === "flag" ? (value ? "on" : "off") : String(value);
}

/** Whether an address's hash holds a state, and is not the anchor of a heading. */
export function holdsState(hash) {
  return hash.includes("=");
}

/** The panel that a hash points at, and the states of all panels; what it does not say is as it was at first. */
export function parsed(hash, panels) {
  const told = new URLSearchParams(hash.replace(/^#/, ""));
  const states = {};
  for (const panel of panels) {
    states[panel.id] = initial(panel.state);
    for (const [name, field] of Object.entries(panel.state)) {
      const value = read(field, told.get(`${panel.id}.${name}`) ?? "");
      if (value !== undefined) states[panel.id][name] = value;
    }
    if (panel.settle) states[panel.id] = panel.settle(states[panel.id]);
  }
  const at = panels.some((panel) => panel.id === told.get("at")) ? told.get("at") : "";
  return { at, states };
}

/** The hash of a page that stands `at` a panel: what differs from the beginning. */
export function hashOf(at, states, panels) {
  const told = new URLSearchParams({ at });
  for (const panel of panels) {
    for (const [name, field] of Object.entries(panel.state)) {
      const value = states[panel.id][name];
      if (value !== field.value) told.set(`${panel.id}.${name}`, written(field, value));
    }
  }
  return `#${told}`;
}
