"""The test set in numbered batches, the same in every test run."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from fi.base.errors import UserError
from fi.base.garbage import return_freed_memory
from fi.base.notes import note
from fi.base.user_code import report_user_code
from fi.network.batch_forms import Layout, find_layouts, split_batch

Batch = tuple[Tensor, Tensor]
#: A test set up to this size is kept in memory, so that test runs need not load it again.
KEEP_BYTES = 2 * 2**30


class Batches:
    """Checked batches ``(events [time, batch, ...], labels [batch])`` of a test loader.

    Args:
        loader: yields such pairs, or what ``split_batch`` makes them of.
        source: what to call it in errors, the name of the datamodule.
        limit: take the first ``limit`` samples only.
        subset: take these samples only, places in the test set; in its order, in batches as large
            as the loader's first one.
        dtype: floating-point type of the events; the default one where not given.
        layout: where time and the samples are in what the loader gives; ``None`` tells it from the
            first batch and its labels.

    Attributes:
        digest: hash of all events and labels, known after the first complete pass.

    Raises:
        UserError: ``limit`` is below 1, or, while it is passed, a batch is malformed.

    Example:
        >>> import torch
        >>> loader = [(torch.ones(5, 4, 12), torch.arange(4))] * 2
        >>> batches = Batches(loader, "my data", limit=6)
        >>> [(events.shape, len(labels)) for events, labels in batches]
        [(torch.Size([5, 4, 12]), 4), (torch.Size([5, 2, 12]), 2)]
    """

    def __init__(
        self,
        loader: Iterable[Any],
        source: str,
        limit: int | None = None,
        dtype: torch.dtype | None = None,
        layout: Layout | None = None,
        subset: Collection[int] | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise UserError(f"--limit-samples {limit}: at least 1 sample is needed")
        self.loader = loader
        self.source = source
        self.limit = limit
        self.subset = None if subset is None else frozenset(subset)
        self.dtype = dtype or torch.get_default_dtype()
        self.layout = layout
        self._told = False
        self._raw: Batch | None = None
        self.digest: str | None = None
        self._kept: list[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._kept) if self._kept is not None else self._pass()

    def first(self) -> Batch:
        """The first batch; ``UserError`` where there is none."""
        for batch in self._load() if self._kept is None else self._kept:
            return batch
        raise UserError(f"{self.source}: the test loader has no samples")

    def forget(self) -> None:
        """Keep no batch: everything is loaded anew in the next pass."""
        self._kept = self._raw = None
        return_freed_memory()

    def keep_on(self, device: torch.device, memory: int) -> None:
        """Keep the batches on ``device``, if they are kept and take ``memory`` bytes at most."""
        if self._kept is None or device == self._kept[0][0].device:
            return
        if sum(events.nbytes for events, _ in self._kept) <= memory:
            self._kept = [(events.to(device), labels.to(device)) for events, labels in self._kept]

    def leave_device(self) -> None:
        """Keep no batch anywhere but on the CPU; those that are elsewhere are loaded anew."""
        if self._kept and self._kept[0][0].device.type != "cpu":
            self.forget()

    def _pass(self) -> Iterator[Batch]:
        """One pass over the loader; a complete one sets the digest and keeps small test sets."""
        kept, size = list[Batch](), 0
        with _Digest() as digest:
            for events, labels in self._load():
                digest.add(events, labels)
                size += events.nbytes
                if size <= KEEP_BYTES:
                    kept.append((events, labels))
                else:
                    kept.clear()
                yield events, labels
            self.digest = digest.compute()
        self._kept = kept if size <= KEEP_BYTES else None

    def _load(self) -> Iterator[Batch]:
        """Checked batches of the loader, up to the limit, or of the subset."""
        return self._load_all() if self.subset is None else self._load_subset(self.subset)

    def _load_subset(self, subset: frozenset[int]) -> Iterator[Batch]:
        """Batches of these samples; those of other lengths of time are not put together."""
        waiting: list[Batch] = []
        size = first = found = 0
        for events, labels in self._load_all():
            size = size or len(labels)
            places = [place - first for place in sorted(subset) if 0 <= place - first < len(labels)]
            first += len(labels)
            if not places:
                continue
            found += len(places)
            if waiting and len(waiting[0][0]) != len(events):
                yield from _join(waiting, size)
                waiting = []
            waiting.append((events[:, places], labels[places]))
            if sum(len(part) for _, part in waiting) >= size:
                *ready, rest = _join(waiting, size)
                yield from ready
                waiting = [rest]
        yield from _join(waiting, size)
        if found < len(subset):
            raise UserError(
                f"{self.source} has {first} samples: there is no sample {max(subset)} of the subset"
            )

    def _load_all(self) -> Iterator[Batch]:
        """Checked batches of the loader, up to the limit."""
        left = self.limit
        for number, batch in enumerate(self._iterate()):
            events, labels = self._check(batch, number)
            if left is not None:
                events, labels = events[:, :left], labels[:left]
                left -= len(labels)
            yield events, labels
            if left == 0:
                return

    def _iterate(self) -> Iterator[Any]:
        """What the loader gives; ``UserCodeError`` for whatever it raises."""
        number = 0
        with report_user_code(f"{self.source}, the test loader"):
            loader = iter(self.loader)
        while True:
            with report_user_code(f"{self.source}, batch {number}"):
                try:
                    batch = next(loader)
                except StopIteration:
                    return
            yield batch
            number += 1

    def load_raw(self) -> Batch:
        """Events of the first batch as the loader gives them, and its labels."""
        if self._raw is None:
            batch = next(self._iterate(), None)
            if batch is None:
                raise UserError(f"{self.source}: the test loader has no samples")
            events, labels, _ = split_batch(batch, f"{self.source}, batch 0")
            self._raw = events, labels
        return self._raw

    def narrow(self, layouts: list[Layout]) -> list[Layout]:
        """Those of ``layouts`` that all batches may have, as far as a pass has to go to tell."""
        for number, batch in enumerate(self._iterate()):
            events, labels, _ = split_batch(batch, f"{self.source}, batch {number}")
            possible = find_layouts(events, len(labels))
            layouts = [layout for layout in layouts if layout in possible] or layouts
            if Layout.TIME_FIRST not in layouts or layouts == [Layout.TIME_FIRST]:
                break
        return layouts

    def _check(self, batch: Any, number: int) -> Batch:
        """The batch, its events as floats and its labels as int64; ``UserError`` if malformed."""
        where = f"{self.source}, batch {number}"
        events, labels, rest = split_batch(batch, where)
        if rest and not self._told:
            note(f"{self.source}: what else is in a batch is not used: {rest}")
            self._told = True
        layouts = find_layouts(events, len(labels))
        if self.layout is None and layouts:
            self.layout = layouts[0]
        if self.layout not in layouts or not len(labels) or not events.numel():
            wanted = self.layout or Layout.TIME_FIRST
            raise UserError(
                f"{where}: events must be {wanted.value} and labels integer [batch], not "
                f"{list(events.shape)} and {labels.dtype} {list(labels.shape)}"
            )
        assert self.layout is not None
        return self.layout.arrange(events).to(self.dtype), labels


def _join(parts: list[Batch], size: int) -> list[Batch]:
    """Batches of ``size`` samples of all parts, the last one with what is left."""
    if not parts:
        return []
    events = torch.cat([events for events, _ in parts], dim=1)
    labels = torch.cat([labels for _, labels in parts])
    return list(zip(events.split(size, dim=1), labels.split(size), strict=True))


class _Digest:
    """Hashes batches in a thread of its own, each while the network computes on it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, "digest")
        self._newest: Future[None] | None = None

    def __enter__(self) -> _Digest:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def add(self, events: Tensor, labels: Tensor) -> None:
        """Take a batch, once the one before is hashed: no more than one waits in memory."""
        self._wait()
        self._newest = self._thread.submit(self._update, events, labels)

    def compute(self) -> str:
        """The hash of all that was added."""
        self._wait()
        return self._hash.hexdigest()

    def _wait(self) -> None:
        if self._newest is not None:
            self._newest.result()

    def _update(self, events: Tensor, labels: Tensor) -> None:
        self._hash.update(f"{events.dtype}{list(events.shape)}".encode())
        self._hash.update(_view_words(events))
        self._hash.update(_view_words(labels))


def _view_words(tensor: Tensor) -> memoryview:
    """The words of a tensor in the order of its indices."""
    return tensor.detach().cpu().contiguous().numpy().data
