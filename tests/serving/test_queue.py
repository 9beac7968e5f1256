"""The queue and the batches of a model, without a server."""

import asyncio

import numpy as np
import pytest

from paddleseg_u2net.serving.queue import Batcher


@pytest.mark.parametrize("pauses", range(4))
def test_no_image_is_left_behind_when_the_engine_has_just_stopped(pauses):
    """The next image comes within the turns of the event loop after the last one was answered."""

    async def run():
        batcher = Batcher(lambda images: [*images], streams=1)
        for _ in range(3):
            await batcher(np.zeros((1, 1, 3), np.uint8))
            for _ in range(pauses):
                await asyncio.sleep(0)
        batcher.close()

    asyncio.run(asyncio.wait_for(run(), 5))


def test_images_of_requests_that_were_given_up_leave_the_memory():
    async def run():
        go = asyncio.Event()
        loop = asyncio.get_running_loop()
        batcher = Batcher(
            lambda images: asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20) and [*images],
            streams=1,
        )
        first = asyncio.create_task(batcher(np.zeros((1, 1, 3), np.uint8)))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(batcher(np.ones((1, 1, 3), np.uint8))) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert len(batcher._waiting) == 5
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        assert not batcher._waiting
        go.set()
        assert (await first).max() == 0
        batcher.close()

    asyncio.run(run())
