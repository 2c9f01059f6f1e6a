// The panels in the order of the essay.

import { panel as pixel } from "./pixel.js";

export const PANELS = [pixel];
