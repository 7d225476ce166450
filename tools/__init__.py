"""Work on the project itself and on its products: images, campaigns, benchmarks, the demo."""
