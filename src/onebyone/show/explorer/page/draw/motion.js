// Motion, where it explains, and nowhere where a reader wants none.

/** Calls draw(share) for shares from 0 to 1 in `duration` ms; where motion is unwanted, draw(1) alone. */
export function animate(duration, draw) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    draw(1);
    return;
  }
  const began = performance.now();
  const step = () => {
    const share = Math.min(1, (performance.now() - began) / duration);
    draw(share);
    if (share < 1) requestAnimationFrame(step);
  };
  step();
}
