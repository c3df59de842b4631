"""One thread: more cost more than they bring on tiny tensors."""

from tests.unit.threads import one_thread as one_thread
