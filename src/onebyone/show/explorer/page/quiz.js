// A short quiz of claims that are true of something narrower than what they say: predict, then look.

import { h, rich, write } from "./dom.js";
import { marked } from "./claims.js";

/** Questions with the claim that each comes from, the panel that shows it, and the answers, the right one first. */
const QUESTIONS = [
  ["1.3", "maps", "256 maps go through 64 filters of 1×1. How many maps come out?", ["64", "16,384"]],
  ["1.10", "rank", "A 1×1 without a bias makes 256 maps of 64. How many of them are independent?", ["64", "256"]],
  ["2.2", "dense", "A fully connected layer of ten units sees 784 pixels. How many numbers does it give?", ["10", "784"]],
  ["2.14", "slide", "Can a fully connected layer do what a 3×3 does, sliding?", ["Yes, nearly all its weights being zeros", "No"]],
  ["2.20", "shortcut", "Are the kernels of a filter always added up to one map?", ["Those of its group", "Always"]],
  ["2.26", "classes", "Is the sum of a class map a fully connected layer?", ["One tied over positions", "Any one"]],
  ["3.8", "bottleneck", "16 times cheaper by a bottleneck: what is?", ["The 3×3 in its middle", "The whole block"]],
  ["3.16", "shortcut", "Where is the cost of a separable 3×3?", ["Nearly all in the 1×1", "In the 3×3"]],
];

/** The answers in an order that does not give the first away: the same on every visit. */
function shuffled(answers, index) {
  return index % 2 ? answers : [...answers].reverse();
}

function question([number, panel, text, answers], index, { claims, docs }) {
  const told = h("p", { class: "verdict" });
  const claim = docs ? h("a", { href: `${docs}#claim-${number}` }, `claim ${number}`) : `claim ${number}`;
  const links = h("p", { class: "small quiet" }, h("a", { href: `#${panel}` }, "the figure that shows it"), " · ", claim);
  const { says, precisely } = claims[number];
  const claimed = rich("p", {}, `<q>${marked(says)}</q>`);
  const reveal = h("div", { class: "reveal", hidden: true }, told, claimed, rich("p", {}, marked(precisely)), links);
  const choices = shuffled(answers, index).map((answer) => {
    const input = h("input", { type: "radio", name: `quiz-${index}` });
    input.addEventListener("change", () => {
      reveal.hidden = false;
      write(told, answer === answers[0] ? "so it is" : `the answer: ${answers[0]}`);
    });
    return h("label", {}, input, h("span", {}, answer));
  });
  const legend = h("legend", {}, h("span", { class: "count" }, `${index + 1}`), text);
  const live = h("div", { "aria-live": "polite" }, reveal);
  return h("fieldset", { class: "choice question" }, legend, h("div", {}, ...choices), live);
}

/** The section that closes the page. */
export function quiz(data) {
  const title = h("h2", { id: "quiz-title" }, "Predict, then look");
  const text = h("p", {}, "Each of these was said somewhat too widely in one of the three texts.");
  const list = QUESTIONS.map((row, index) => question(row, index, data));
  const prose = h("div", { class: "prose" }, title, text);
  return h("section", { id: "quiz", "aria-labelledby": title.id }, prose, h("div", { class: "play questions" }, ...list));
}
