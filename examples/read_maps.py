"""Read pictures of maps as costs from supervision of the shortest paths alone, and draw them: `maps.png`."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import torch

from nlcore.plotting.figure import BLUE, ORANGE, new_figure, render
from nlcore_bench import Paths
from nlcore_shortest_paths import path_cost, shortest_path

MAPS = 5
STEPS = int(os.environ.get("NLCORE_EXAMPLE_STEPS", "240"))

torch.manual_seed(0)
task = Paths()
network = task.network(0)
optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
for batch in islice(task.batches(0), STEPS):
    optimiser.zero_grad()
    task.loss(network(batch.inputs), batch.target).mean().backward()
    optimiser.step()
    schedule.step()
share = task.evaluate(network, "test")["optimal"]
print(f"{STEPS} steps: {share:.1f} % of all test maps get an optimal path")

maps = task.maps("test")
images, costs, known = maps.images[:MAPS], maps.costs[:MAPS], maps.paths[:MAPS]
with torch.no_grad():
    predicted = network(images)
paths = shortest_path(predicted)
ratio = (path_cost(costs, paths) / path_cost(costs, known)).tolist()
figure = new_figure(2.3 * MAPS, 7.6)
for index, column in enumerate(figure.subplots(3, MAPS, squeeze=False).T):
    column[0].imshow(images[index].numpy())
    column[0].set_title(f"cost {ratio[index]:.3f} × best", fontsize=10)
    column[1].imshow(costs[index].numpy(), cmap="gray_r", vmin=0, vmax=12)
    column[2].imshow(predicted[index].numpy(), cmap="gray_r")
    for axis, size in zip(column, (images.shape[1] / costs.shape[1], 1.0, 1.0), strict=True):
        for path, color, marker in ((known[index], BLUE, "o"), (paths[index], ORANGE, "x")):
            y, x = path.nonzero().T
            axis.plot(
                (x + 0.5) * size - 0.5, (y + 0.5) * size - 0.5, marker, color=color, fillstyle="none", markersize=5
            )
        axis.set_axis_off()
figure.suptitle(
    "what the network sees, hidden costs, predicted costs\n○ shortest path by the hidden costs, × by the predicted"
)
Path("maps.png").write_bytes(render(figure))
