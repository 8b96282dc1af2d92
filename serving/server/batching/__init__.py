"""Server-side batching: requests that arrive together run as one, with TensorFlow Serving's parameters and rules.

    parameters.py   BatchingParameters messages -> QueueOptions, with the checks of the real server
    queue.py        tasks, batches, and when a batch is ready
    scheduler.py    the threads that run batches of all queues, in turns
    arrays.py       many requests' arrays into one, and the answers apart again
    session.py      a servable whose `run` goes through a queue
    metrics.py      what the real server counts of it

No TensorFlow: what is batched is anything with `signatures`, `run` and `close`.
"""

from serving.server.batching.session import AnyServable, Batching

__all__ = ["AnyServable", "Batching"]
