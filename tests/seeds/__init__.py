"""The claims of three short texts on 1×1 convolutions, one test each: docs/seeds.md lists them."""
