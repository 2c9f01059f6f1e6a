// What the page carries, decoded from its blocks: arrays of bytes with a shape, and texts.

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function decoded(block) {
  const content = bytes(block.textContent);
  const shape = block.dataset.shape;
  if (!shape) return JSON.parse(new TextDecoder().decode(content));
  return { shape: shape.split(",").map(Number), bytes: content };
}

/** All blocks of the document by name; `picture` also as numbers from 0 to 1. */
export function load(page) {
  const data = {};
  for (const block of page.querySelectorAll("script[data-name]")) data[block.dataset.name] = decoded(block);
  data.picture.values = Float64Array.from(data.picture.bytes, (byte) => byte / 255);
  return data;
}
