"""The loop: decode and prepare ahead in threads, predict, score in threads, hand back in order.

Each picture's scores depend on nothing but the picture, so workers and batches change speed only.
Threads suffice: decoding, resizing and the sums all release Python's lock.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from raiha_core.data.item import Triple
from raiha_core.data.pictures import decode_mask, decode_rgb

from .plan import UNTOUCHED, ScoringPlan
from .predictors import PredictionRequest, Predictor
from .protocols import Prepared, Protocol, composite_prediction, encode, prepare, score
from .score_log import ScoredPair

Loaded = tuple[Triple, Prepared | str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One composite's rows, or the sentence that says why there are none."""

    item: Triple
    rows: tuple[ScoredPair, ...]
    problem: str = ""


def load_triple(protocol: Protocol, item: Triple) -> Prepared:
    """Decode a triple and prepare it. Raises: ValueError naming the file."""
    composite, mask = decode_rgb(item.composite_path), decode_mask(item.mask_path)
    return prepare(protocol, composite, mask, decode_rgb(item.real_path), item.id)


def _loaded(protocol: Protocol, item: Triple) -> Prepared | str:
    try:
        return load_triple(protocol, item)
    except ValueError as error:
        return str(error)


def _score(protocol: Protocol, job: PredictionRequest, predictions: list[Tensor]) -> Outcome:
    item, prepared = job.item, job.prepared
    try:
        untouched = score(protocol, prepared, composite_prediction(protocol, prepared))
        rows = [ScoredPair(item.id, item.subset, UNTOUCHED, untouched)]
        for reference, prediction in zip(job.references, predictions, strict=True):
            rows.append(ScoredPair(item.id, item.subset, reference, score(protocol, prepared, prediction)))
    except ValueError as error:
        return Outcome(item, (), str(error))
    return Outcome(item, tuple(rows))


def _ahead(
    pool: ThreadPoolExecutor, protocol: Protocol, items: Sequence[Triple], count: int
) -> Iterator[Loaded]:
    """Decoded items in order, `count` of them in the making."""
    waiting: deque[tuple[Triple, Future[Prepared | str]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(_loaded, protocol, item)))
        if len(waiting) > count:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _batches(loaded: Iterator[Loaded], size: int) -> Iterator[list[Loaded]]:
    while batch := list(islice(loaded, size)):
        yield batch


def evaluate(
    items: Sequence[Triple],
    protocol: Protocol,
    source: Predictor,
    plan: ScoringPlan,
    workers: int,
    batch_size: int,
) -> Iterator[Outcome]:
    """Outcomes in the order of `items`.

    Args:
        workers: threads that decode and score.
        batch_size: pictures per forward where the harmonizer takes them at 256; 1 at full size.
    Raises: ValueError where the harmonizer refuses a picture; an unreadable one is an outcome.
    """
    batch_size = 1 if protocol.full_size else batch_size
    with ThreadPoolExecutor(max_workers=workers) as pool:
        # Rendering 12 megapixels takes a gigabyte: at full size only the next triple is read meanwhile.
        ahead, behind = (1, 0) if protocol.full_size else (workers + batch_size, workers)
        loaded = _ahead(pool, protocol, items, ahead)
        waiting: deque[Future[Outcome]] = deque()
        for batch in _batches(loaded, batch_size):
            jobs = [
                PredictionRequest(item, found, plan.references(item.id))
                for item, found in batch
                if not isinstance(found, str)
            ]
            predicted = source.predict(jobs)
            # Bytes at once: a float picture is four times as large, and waits for its score.
            predictions = {
                job.item.id: [encode(protocol, p) for p in row]
                for job, row in zip(jobs, predicted, strict=True)
            }
            del predicted
            by_id = {job.item.id: job for job in jobs}
            for item, found in batch:
                if isinstance(found, str):
                    waiting.append(pool.submit(Outcome, item, (), found))
                else:
                    waiting.append(pool.submit(_score, protocol, by_id[item.id], predictions[item.id]))
            while len(waiting) > behind:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
