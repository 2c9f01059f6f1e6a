// The panels in the order of the essay.

import { panel as pixel } from "./pixel.js";
import { panel as maps } from "./maps.js";
import { panel as depth } from "./depth.js";
import { panel as rank } from "./rank.js";
import { panel as dense } from "./dense.js";
import { panel as slide } from "./slide.js";
import { panel as classes } from "./classes.js";
import { panel as bottleneck } from "./bottleneck.js";
import { panel as shortcut } from "./shortcut.js";
import { panel as swap } from "./swap.js";

export const PANELS = [pixel, maps, depth, rank, dense, slide, classes, bottleneck, shortcut, swap];
