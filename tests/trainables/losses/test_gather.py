import pytest
import torch

from trainables.losses.gather import gather_pixels


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("positions", [[0, 5, 17, 29, 23], [7, 7, 7], []])
def test_rows_and_gradient_are_those_of_indexing(memory_format: torch.memory_format, positions: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 4, 3, 5, generator=generator).contiguous(memory_format=memory_format).requires_grad_()
    chosen = torch.tensor(positions, dtype=torch.int64)
    weights = torch.randn(len(positions), 4, generator=generator)
    results = []
    for rows in (gather_pixels(embeddings, chosen), embeddings.movedim(1, -1).flatten(0, 2)[chosen]):
        (gradient,) = torch.autograd.grad((weights * rows).sum(), embeddings)
        results.append((rows, gradient))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])
    assert results[0][1].stride() == embeddings.stride()
