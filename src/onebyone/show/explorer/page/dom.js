// Elements in one expression: h("p", { class: "quiet" }, "text", child).

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** An HTML element. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** An HTML element whose content is a text of ours with marks: <b>, <i>, <code>, <sub>. */
export function rich(tag, attributes, html) {
  const element = h(tag, attributes);
  element.innerHTML = html;
  return element;
}

/** A drawing with what is said of it below: texts and elements. */
export function figure(drawing, ...caption) {
  return h("figure", {}, drawing, h("figcaption", {}, ...caption));
}

/** The width that a drawing has on the page, so that its units are pixels and its text is not scaled. */
export function widthOf(element) {
  return Math.max(240, element.clientWidth);
}

/** Put `text` into an element, only where it changes. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
