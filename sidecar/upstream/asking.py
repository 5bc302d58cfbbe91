"""What an attempt asks of a provider: the client's own words, or their translation; knows nothing of connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.forms import Form, form_of, takes_long
from sidecar.dialects.rescue import Continuation
from sidecar.model.failures import Failure, Kind
from sidecar.model.hub import How
from sidecar.model.request import Call
from sidecar.model.settings import OnLoss
from sidecar.model.topology import Operation
from sidecar.upstream.account import Account, Way
from sidecar.upstream.transport import UpstreamRequest

__all__ = ["Asking", "aside", "form_for"]

_T = TypeVar("_T")

# One thread: more would not be faster under the interpreter's lock, and would take more of the loop's turns.
_ASIDE = ThreadPoolExecutor(1, thread_name_prefix="aside")


async def aside(work: Callable[[], _T]) -> _T:
    """Have something done that would hold the loop, in turns with it and after whatever else was put aside."""
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, work)


def form_for(call: Call, endpoint: Operation, way: Way) -> Form:
    """How a call is asked there; see `form_of`."""
    return form_of(call, endpoint, way.wire, way.params, now_utc=time.time)


class Asking:
    """What one attempt asks.

    Args:
        account: The target's provider.
        model: The model's name upstream.
        call: The client's request.
        on_loss: What becomes of a request that a translation would not keep whole.
        rescue: What the client has of a stream that broke, to be gone on from.
    """

    __slots__ = ("_account", "_call", "_model", "_on_loss", "_rescue", "way")

    def __init__(
        self, account: Account, model: str, call: Call, *, on_loss: OnLoss, rescue: Continuation | None
    ) -> None:
        self._account = account
        self._model = model
        self._call = call
        self._on_loss = on_loss
        self._rescue = rescue
        # What is to be gone on from is a conversation, whatever it was before.
        rescues = rescue is not None and call.operation is Operation.COMPLETIONS
        operation = Operation.CHAT if rescues else call.operation
        self.way = account.way(operation, model, call.headers, stream=call.peek.stream)

    @property
    def takes_long(self) -> bool:
        """Whether it should be put into words aside."""
        endpoint = self.way.endpoint
        return endpoint is not None and takes_long(self._call, endpoint, anew=self._rescue is not None)

    def put(self) -> tuple[Form | None, UpstreamRequest | Failure]:
        """Its form and the request, or why it cannot be asked here; changes nothing, and may be called in any thread.

        Raises:
            ValidationError: When the client's request cannot be understood.
        """
        way, provider = self.way, self._account.provider
        if way.endpoint is None or way.path is None:
            offers = f"{provider.name} does not offer {self._call.operation.value}"
            return None, Failure(Kind.MODEL_UNAVAILABLE, offers)
        try:
            form = self._formed(way.endpoint)
        except Untranslatable as error:
            return None, Failure(Kind.LOSSY, f"{provider.name} cannot be asked this: {error}")
        if self._on_loss is OnLoss.REJECT:
            lost = [loss for loss in form.losses if loss.how is not How.ADDED]
            if lost:
                told = "; ".join(map(str, lost))
                return form, Failure(Kind.LOSSY, f"on_loss: reject, and {provider.name} would not be told all: {told}")
        return form, UpstreamRequest("POST", way.path, way.headers, form.body)

    def _formed(self, endpoint: Operation) -> Form:
        way, rescue = self.way, self._rescue
        if rescue is None:
            form = form_for(self._call, endpoint, way)
        else:
            form = rescue.form(
                self._call, endpoint, way.wire, way.params, f"{self._account.provider.name}/{self._model}"
            )
        if way.losses:
            form.losses += way.losses
        return form
