"""Training steps per second on random pictures, per preset: no loader, no synthesis.

Example: python train/bench/step.py hdnet raiha-plus --size 256 --batch 4
The forward pass alone stands beside it in the same run, so that a busy machine shows in both columns.
"""

from dataclasses import replace

import torch

from raiha_core import render
from raiha_core.models.cost import parameters
from raiha_core.models.presets import PRESETS
from raiha_train.command import command_parser
from raiha_train.loop.benchmarks import rate
from raiha_train.losses.terms import LossConfig, total


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("presets", nargs="*", default=["hdnet", "hdnet-lite", "raiha-plus"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="under autocast")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    size, batch, device = arguments.size, arguments.batch, arguments.device
    image, target = torch.rand(2, batch, 3, size, size, device=device)
    mask = torch.zeros(batch, 1, size, size, device=device)
    mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
    print(f"{size} px, batch {batch}, {device}, {torch.get_num_threads()} threads, bf16 {arguments.bf16}")
    print("| preset | parameters | forward img/s | step img/s |\n|---|---|---|---|")
    for name in arguments.presets:
        preset = PRESETS[name]
        needs = preset.requirements
        network = preset.build(config=replace(preset.config, size=size), pretrained=False).to(device)
        dim = getattr(preset.config, "content_dim", 0)
        content = torch.rand(batch, dim, 12, 12, device=device) if needs.content_without_references else None
        optimizer = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=1e-4)

        def new(network=network, content=content) -> torch.Tensor:
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=arguments.bf16):
                return render.apply(network(image, mask, content), image, mask)

        @torch.no_grad()
        def forward(_: int, new=new) -> None:
            new()

        def step(_: int, new=new, optimizer=optimizer) -> None:
            optimizer.zero_grad()
            loss, _ = total(new(), target, mask, LossConfig())
            loss.backward()
            optimizer.step()

        rates = [rate(call, batch, arguments.repeats, device) for call in (forward, step)]
        print(f"| {name} | {parameters(network):,} | {rates[0]:.2f} | {rates[1]:.2f} |")


if __name__ == "__main__":
    main()
