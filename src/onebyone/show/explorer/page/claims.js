// The claims of the three texts that a panel shows: what is said, what is true.

import { h, rich } from "./dom.js";

/** A text of docs/seeds.md as HTML. */
export function marked(text) {
  const safe = text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return safe.replace(/`([^`]+)`/g, "<code>$1</code>");
}

function row(number, claim, docs) {
  const name = docs ? h("a", { href: `${docs}#claim-${number}` }, number) : h("span", {}, number);
  return h(
    "li",
    { class: "claim", "data-verdict": claim.verdict },
    h("p", { class: "verdict" }, name, ` ${claim.verdict}`),
    rich("p", {}, `<q>${marked(claim.says)}</q>`),
    rich("p", {}, marked(claim.precisely)),
  );
}

/** A list that opens: the claims of a panel in full. */
export function claimsOf(panel, data) {
  const told = panel.claims.map((number) => [number, data.claims[number]]);
  const loose = told.filter(([, claim]) => claim.verdict !== "holds").length;
  const count = told.length === 1 ? "one claim" : `${told.length} claims`;
  const summary = `What three texts say of it: ${count}${loose ? `, ${loose} not quite true` : ""}`;
  return h(
    "details",
    { class: "claims" },
    h("summary", {}, summary),
    h("ul", {}, ...told.map(([number, claim]) => row(number, claim, data.docs))),
  );
}
