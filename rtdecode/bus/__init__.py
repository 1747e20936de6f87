"""The ZeroMQ bus: one broker in the service, to which publishers, subscribers and control clients connect."""

from rtdecode.bus.broker import Broker
from rtdecode.bus.control import ControlClient, NoAnswerError
from rtdecode.bus.publisher import Publisher
from rtdecode.bus.sockets import Endpoints
from rtdecode.bus.subscriber import LatestSubscriber, Subscriber
from rtdecode.bus.wire import Received, WireError

__all__ = [
    "Broker",
    "ControlClient",
    "Endpoints",
    "LatestSubscriber",
    "NoAnswerError",
    "Publisher",
    "Received",
    "Subscriber",
    "WireError",
]
