"""Owns the watch for loops in one worker's calls: which rule counts for a call, and what there is to tell of loops."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import get_args

from backstay.core.caller import Caller
from backstay.loops.config import LoopConfig
from backstay.loops.detector import Detector
from backstay.loops.likeness import likeness
from backstay.loops.types import Loop, LoopRule, OnLoop

_MOST_NEWS = 256


class Loops:
    """Watches one worker's calls. A caller whose calls are spread over workers is seen by each for its part."""

    def __init__(self) -> None:
        self.counts: dict[OnLoop, int] = dict.fromkeys(get_args(OnLoop), 0)
        """Calls of loops since the start, by what was done."""
        self._detector = Detector()
        self._news: dict[tuple[str, str, str], Loop] = {}
        self._rules: dict[tuple[str, str], LoopRule] = {}
        self._config = LoopConfig()

    def adopt(self, config: LoopConfig) -> None:
        """Take over the rules of a new policy."""
        self._config, self._rules = config, {}

    def watch(self, add_counter: Callable[[str, str, Callable[[], float], Mapping[str, str]], None]) -> None:
        """Show how many calls were of a loop."""
        for action in get_args(OnLoop):
            if action != "off":
                add_counter(
                    "backstay_loop_calls_total",
                    "Calls that repeated earlier ones of their key again and again.",
                    partial(self.counts.__getitem__, action),
                    {"action": action},
                )

    def see(
        self,
        caller: Caller,
        messages: bytes | memoryview,
        *,
        model: str,
        feature: str | None,
        user: str | None,
        at_ns: int,
        trace_id: str,
    ) -> Loop | None:
        """Take note of a call, and say whether it is one of a loop. It takes a few microseconds, and no I/O."""
        rule = self._rules.get((caller.id, model)) or self._rule(caller, model)
        if rule.on_loop == "off":
            return None
        view = memoryview(messages)
        print_ = hash((caller.tenant_id, caller.id, user, model, likeness(view)))
        count = self._detector.see(print_, view.nbytes, at_ns, rule)
        if not count:
            return None
        loop = Loop(
            tenant_id=caller.tenant_id,
            key_id=caller.id,
            key_name=caller.name,
            model=model,
            feature=feature,
            user=user,
            rule=rule,
            count=count,
            began_ns=self._detector.began_ns(print_),
            at_ns=at_ns,
            trace_id=trace_id,
        )
        self.counts[rule.on_loop] += 1
        if len(self._news) < _MOST_NEWS or (caller.tenant_id, caller.id, model) in self._news:
            self._news[(caller.tenant_id, caller.id, model)] = loop
        return loop

    def take_news(self) -> list[Loop]:
        """Give the loops that went on since the last time, each once, as it is now."""
        news, self._news = list(self._news.values()), {}
        return news

    def give_back(self, news: list[Loop]) -> None:
        """Keep what could not be told for the next time, unless there is newer."""
        self._news = {**{(loop.tenant_id, loop.key_id, loop.model): loop for loop in news}, **self._news}

    def _rule(self, caller: Caller, model: str) -> LoopRule:
        config = self._config
        rule = config.over(LoopRule())
        if model in config.models:
            rule = config.models[model].over(rule)
        terms = config.keys.get(caller.id) or config.keys.get(caller.name)
        rule = terms.over(rule) if terms is not None else rule
        if len(self._rules) < _MOST_NEWS * 16:
            self._rules[(caller.id, model)] = rule
        return rule
