"""Clients of many requests: several for a replica, and a prompt stays with its own."""

from __future__ import annotations

import asyncio

import pytest

from eval.cli.options import Options
from eval.servers.http import Address
from eval.servers.readers import reader_of
from eval.speed_bench.client import PER_CLIENT, Driver


@pytest.mark.parametrize(("concurrency", "rounds"), [(1, 1), (PER_CLIENT, 1), (PER_CLIENT + 1, 2)])
def test_a_prompt_stays_with_its_replica(concurrency: int, rounds: int) -> None:
    addresses = [Address("http://127.0.0.1:1"), Address("http://127.0.0.1:2")]
    driver = Driver(addresses, "m", Options(), reader_of("vllm"))

    async def ports() -> list[int | None]:
        async with driver.clients(concurrency) as clients:
            return [clients[i % len(clients)].base_url.port for i in range(8)]

    assert asyncio.run(ports()) == [1, 2] * 4

    async def count() -> int:
        async with driver.clients(concurrency) as clients:
            return len(clients)

    assert asyncio.run(count()) == 2 * rounds
