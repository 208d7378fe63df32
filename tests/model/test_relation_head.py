"""The relation head answers for an item the same alone and in a batch."""

from __future__ import annotations

import copy

import pytest
import torch

from speechre.model.relation_head import FrameNorm, RelationHead, max_of_four

WIDTH = 64


@pytest.fixture(scope="module")
def head() -> RelationHead:
    """In eval mode, with batch statistics that are not those of a new one."""
    torch.manual_seed(3)
    head = RelationHead(5)
    for block in head.blocks:
        norm = block[1]  # type: ignore[index]
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2.0)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return head.eval()


def states(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, WIDTH, generator=generator) for length in lengths]


def logits(head: RelationHead, items: list[torch.Tensor], rubbish: float = 0.0) -> torch.Tensor:
    """One batch; what stands behind an item's end is ``rubbish``."""
    longest = max(len(item) for item in items)
    batch = torch.full((len(items), longest, WIDTH), rubbish)
    for row, item in zip(batch, items, strict=True):
        row[: len(item)] = item
    with torch.inference_mode():
        return head(batch, torch.tensor([len(item) for item in items]))


@pytest.mark.parametrize(
    "lengths",
    [[40, 80, 160], [33, 47, 101, 15], [1, 2, 3, 5, 7, 9, 11, 13, 14, 15], [1, 16, 17], [31, 32, 33, 1500], [4, 4]],
)
def test_alone_and_in_a_batch(head: RelationHead, lengths: list[int]) -> None:
    items = states(lengths)
    alone = torch.cat([logits(head, [item]) for item in items])
    assert torch.allclose(logits(head, items), alone, atol=1e-5)
    assert torch.allclose(logits(head, items[::-1]), alone.flip(0), atol=1e-5)


def test_what_stands_behind_the_end_is_not_heard(head: RelationHead) -> None:
    items = states([20, 35, 90])
    assert torch.allclose(logits(head, items, rubbish=1e3), logits(head, items), atol=1e-5)


def test_every_length_up_to_a_second(head: RelationHead) -> None:
    items = states(list(range(1, 51)), seed=1)
    together = logits(head, items)
    assert together.isfinite().all()
    assert torch.allclose(together, torch.cat([logits(head, [item]) for item in items]), atol=1e-5)


def test_what_is_said_changes_the_answer(head: RelationHead) -> None:
    one, other = states([50, 50], seed=2)
    assert not torch.allclose(logits(head, [one]), logits(head, [other]), atol=1e-3)


def test_gradients_reach_every_parameter() -> None:
    head = RelationHead(5)
    head(torch.randn(3, 40, WIDTH), torch.tensor([40, 33, 8])).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_frozen_blocks_keep_weights_and_statistics_while_the_classifier_learns(head: RelationHead) -> None:
    frozen = copy.deepcopy(head)
    frozen.blocks.requires_grad_(False)
    frozen.train()
    items, lengths = torch.randn(3, 40, WIDTH), torch.tensor([40, 33, 8])
    answers = frozen(items, lengths)
    assert torch.allclose(answers, head(items, lengths), atol=1e-5)  # as at inference
    answers.square().sum().backward()
    assert all(parameter.grad is None for parameter in frozen.blocks.parameters())
    assert frozen.classifier.weight.grad is not None
    for name, tensor in head.blocks.state_dict().items():
        assert torch.equal(frozen.blocks.state_dict()[name], tensor), name


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalization_in_training_is_that_of_the_real_frames(channels_last: bool) -> None:
    """Values, gradients and running statistics, against the definition, frame by frame."""
    torch.manual_seed(4)
    norm = FrameNorm(6)
    torch.nn.init.normal_(norm.weight)
    picture = torch.randn(3, 6, 20, 8)
    if channels_last:
        picture = picture.contiguous(memory_format=torch.channels_last)
    real_BS = torch.arange(20)[None, :] < torch.tensor([20, 13, 1])[:, None]
    real_B1S1 = real_BS[:, None, :, None]
    upstream = torch.randn(picture.shape)

    ours = picture.clone().requires_grad_()
    (norm(ours, real_BS) * upstream).sum().backward()

    theirs = picture.clone().requires_grad_()
    frames_CN = theirs.permute(1, 0, 2, 3)[:, real_BS].flatten(1)
    mean_C11, variance_C11 = frames_CN.mean(dim=1)[:, None, None], frames_CN.var(dim=1, correction=0)[:, None, None]
    weight, bias = (p.detach().clone().requires_grad_() for p in (norm.weight, norm.bias))
    expected = (theirs - mean_C11) / (variance_C11 + norm.eps).sqrt() * weight[:, None, None] + bias[:, None, None]
    (expected * real_B1S1 * upstream).sum().backward()

    assert torch.allclose(norm(picture, real_BS), (expected * real_B1S1).detach(), atol=1e-5)
    for left, right in ((ours, theirs), (norm.weight, weight), (norm.bias, bias)):
        assert left.grad is not None
        assert right.grad is not None
        assert torch.allclose(left.grad, right.grad, atol=1e-4)
    assert norm.running_mean is not None
    fresh = 1 - 0.9**2  # two passes over the same picture
    assert torch.allclose(norm.running_mean, fresh * mean_C11.flatten().detach(), atol=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (3, 8), (20, 9), (51, 7)])
def test_the_largest_of_four_is_max_pooling(size: tuple[int, int], channels_last: bool) -> None:
    picture = torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(size[0]))
    if channels_last:
        picture = picture.contiguous(memory_format=torch.channels_last)
    assert torch.equal(max_of_four(picture), torch.nn.functional.max_pool2d(picture, 2))
