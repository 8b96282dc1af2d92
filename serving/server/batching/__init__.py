"""Server-side batching: requests that arrive together run as one, with TensorFlow Serving's parameters and rules.

    parameters.py   BatchingParameters messages -> QueueOptions, with the real server's checks
    queue.py        tasks, batches, and when a batch is ready
    scheduler.py    the threads that run the batches of all queues in turn
    arrays.py       merge the arrays of many requests, and split the results
    session.py      a servable whose `run` goes through a queue
    metrics.py      the real server's counters of batching

Does not import TensorFlow: any `serving.server.servables.protocol.Servable` can be batched.
"""

from serving.server.batching.session import Batching

__all__ = ["Batching"]
